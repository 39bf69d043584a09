"""Worker processes that run guarded calls on command, forked from one warm process.

`Crew` starts them; each worker holds one breaker and does the jobs of `workers_jobs`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker's breaker is made of.

    Args:
        url: Where the circuits live.
        prefix: Prefix of keys and channels.
        service: Service id.
        config: Fields of the configuration; call_timeout is off when not given.
        settings: Further arguments of `configure`.
        clock_offset: Seconds by which the worker's clocks are wrong.
    """

    url: str
    prefix: str
    service: str = "svc"
    config: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    clock_offset: float = 0.0


class WorkerDied(AssertionError):
    """A worker ended instead of answering."""


class Worker:
    """The test's end of one worker process."""

    def __init__(self, line: socket.socket) -> None:
        line.settimeout(_ANSWER_SECONDS)
        self._line = line
        self._answers = line.makefile("r", encoding="utf-8")
        self.pid = 0

    def send(self, job: str, **arguments: Any) -> None:
        """Start a job; `receive` waits for it."""
        self._line.sendall(json.dumps([job, arguments]).encode() + b"\n")

    def receive(self) -> Any:
        """Return the result of the job that was sent.

        Raises:
            WorkerDied: the process ended before.
            AssertionError: the job raised; the message has its traceback.
        """
        try:
            text = self._answers.readline()
        except ConnectionResetError:
            text = ""
        if not text:
            raise WorkerDied(f"worker {self.pid} died")
        kind, value = json.loads(text)
        if kind == "raised":
            raise AssertionError(f"in worker {self.pid}:\n{value}")
        return value

    def ask(self, job: str, **arguments: Any) -> Any:
        """Do a job and return its result."""
        self.send(job, **arguments)
        return self.receive()

    def kill(self) -> None:
        """End the process at once, and return when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._answers.read() == ""

    def close(self) -> None:
        """Let the worker end: it does when nobody can command it any more."""
        self._answers.close()
        self._line.close()


class Crew:
    """Some workers; a context manager that ends them all.

    Args:
        count: How many.
        assignment: What they guard, all alike.
        environment: Variables to add to theirs.
    """

    def __init__(
        self, count: int, assignment: Assignment, environment: Mapping[str, str] | None = None
    ) -> None:
        pairs = [socket.socketpair() for _ in range(count)]
        theirs = [their.fileno() for _, their in pairs]
        self.workers = [Worker(our) for our, _ in pairs]
        command = [sys.executable, "-m", "tests.support.workers_main"]
        self._zygote = subprocess.Popen(
            [*command, json.dumps(asdict(assignment)), *map(str, theirs)],
            pass_fds=theirs,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        for _, their in pairs:
            their.close()
        try:
            for worker in self.workers:
                worker.pid = worker.receive()
        except BaseException:
            self.close()
            raise

    def ask_all(self, job: str, **arguments: Any) -> list[Any]:
        """Do a job in all workers at the same time and return their results in order."""
        for worker in self.workers:
            worker.send(job, **arguments)
        return [worker.receive() for worker in self.workers]

    def ask_together(self, job: str, **arguments: Any) -> list[Any]:
        """As `ask_all`, with a common moment at which all begin, as close as it gets."""
        return self.ask_all(job, at=time.monotonic() + 0.05, **arguments)

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.close()
        try:
            self._zygote.wait(5)
        except subprocess.TimeoutExpired:
            for worker in self.workers:
                if worker.pid:
                    _kill(worker.pid)
            self._zygote.kill()
            self._zygote.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
