"""What `import bb5_breaker` brings, what comes later, and forks in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bb5_breaker

_ROOT = Path(__file__).parents[2]

_LOOK = """
import sys
import bb5_breaker
print(*(name for name in sys.modules if name.startswith("bb5_breaker")))
"""

# A slow module stands for one of ours that another thread imports just now.
_FORK = """
import os, sys, threading, time
from bb5_breaker._store.importing import IMPORTING
begun = threading.Event()
sys.slow = begun

def load():
    with IMPORTING:
        import slow

threading.Thread(target=load).start()
begun.wait()
child = os.fork()
if child == 0:
    import slow
    os._exit(slow.ANSWER)
ends = time.monotonic() + 20
while not (done := os.waitpid(child, os.WNOHANG))[0]:
    if time.monotonic() > ends:
        os.kill(child, 9)
        raise SystemExit("the child hangs")
    time.sleep(0.01)
print(os.waitstatus_to_exitcode(done[1]))
"""
_SLOW = """
import sys, time
sys.slow.set()
time.sleep(0.3)
ANSWER = 42
"""


def _run(code: str, folder: Path = _ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_first_breaker_brings_no_event_bus_no_embedded_server_and_no_manager() -> None:
    """They take a third of the time of the import, and come when they are first used."""
    brought = _run(_LOOK).split()
    assert "bb5_breaker.breaker" in brought
    later = ("_bus", "event_bus", "manager", "presets", "_store.embedded", "_store.embedded_store")
    assert [name for name in later if f"bb5_breaker.{name}" in brought] == []


def test_every_public_name_is_listed_before_it_is_used_and_can_be_had() -> None:
    """dir() tells all names of a fresh process, and each of them is there when it is asked for."""
    names = bb5_breaker.__all__
    assert _run(f"import bb5_breaker as b; print({{*{names}}} - {{*dir(b)}})").strip() == "set()"
    _run(f"import bb5_breaker as b\nfor name in {names}: getattr(b, name)")


def test_a_star_import_brings_all_public_names() -> None:
    """As it did when all were imported at once."""
    names = bb5_breaker.__all__
    told = _run(f"from bb5_breaker import *\nprint(*(n for n in {names} if n not in globals()))")
    assert told.strip() == ""


def test_a_misspelt_name_is_an_attribute_error() -> None:
    """It names the package and the name, as for any module."""
    with pytest.raises(AttributeError, match=r"module 'bb5_breaker' has no attribute 'Braker'"):
        bb5_breaker.Braker  # type: ignore[attr-defined]  # noqa: B018


def test_a_fork_waits_for_an_import_under_way(tmp_path: Path) -> None:
    """Otherwise the child would wait for ever for the thread that held the module's lock."""
    (tmp_path / "slow.py").write_text(_SLOW)
    assert _run(_FORK, tmp_path).strip() == "42"
