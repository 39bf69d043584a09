"""Ends the servers of a test run that was killed before it could end them itself.

A second process holds the list of servers and the reading end of a pipe. The pipe
closes with the test process, however that dies; the reaper then kills what is left
and removes its files. Unlike PDEATHSIG this works on every Unix, and does not end a
server with the thread that started it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable

_process: subprocess.Popen[str] | None = None
_inherited: list[subprocess.Popen[str]] = []


def watch(pid: int, directory: str) -> None:
    """Have this server killed and its directory removed when this process is gone."""
    _tell(f"watch {pid} {directory}")


def forget(pid: int, directory: str) -> None:
    """Leave this server alone from now on: it has ended."""
    _tell(f"forget {pid} {directory}")


def _tell(line: str) -> None:
    global _process
    if _process is None:
        _process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            text=True,
            # A Ctrl-C in the terminal is for the tests; the reaper must outlive them.
            start_new_session=True,
        )
    assert _process.stdin is not None
    _process.stdin.write(line + "\n")
    _process.stdin.flush()


def _dismiss() -> None:
    if _process is not None:
        _process.communicate(timeout=10)


def _disown() -> None:
    """Let go of the pipe in a forked child, lest the child's life count as the parent's."""
    global _process
    if _process is not None and _process.stdin is not None:
        _process.stdin.close()
        # Kept, since Popen complains when it is collected before its process ended.
        _inherited.append(_process)
        _process = None


atexit.register(_dismiss)
os.register_at_fork(after_in_child=_disown)


def reap(lines: Iterable[str]) -> None:
    """Follow the orders until they end, then kill and remove what is still watched."""
    watched: dict[int, str] = {}
    for line in lines:
        order, pid, directory = line.rstrip("\n").split(" ", 2)
        if order == "watch":
            watched[int(pid)] = directory
        else:
            watched.pop(int(pid), None)
    for process, directory in watched.items():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    reap(sys.stdin)
