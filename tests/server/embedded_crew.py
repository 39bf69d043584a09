"""Worker processes for the tests of the embedded server, and waiting for what they do."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_WORKER = Path(__file__).with_name("embedded_worker.py")


class Worker:
    """A process that runs one function of the worker script."""

    def __init__(self, role: str, directory: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(_WORKER), role, str(directory), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )

    def line(self) -> str:
        """Return the next line it prints."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        assert ready, "the worker said nothing for 30 s"
        return self.process.stdout.readline().decode().strip()

    def server_pid(self) -> int:
        """Return the server's process id that it prints next."""
        return int(self.line())

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Let it end by itself, and every child that reads its input with it."""
        self.process.communicate(timeout=30)

    def close(self) -> None:
        """End it, however it is now."""
        self.process.kill()
        self.process.communicate()


class Crew:
    """The workers of one test, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._workers: list[Worker] = []

    def start(self, role: str, *arguments: str) -> Worker:
        """Start a worker."""
        worker = Worker(role, self.directory, *arguments)
        self._workers.append(worker)
        return worker

    def close(self) -> None:
        """End all that still run."""
        for worker in self._workers:
            worker.close()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition, and fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout.strip() not in ("", "Z", "Zs")
