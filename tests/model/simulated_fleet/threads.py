"""How the generators that stand for threads wait."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Bell", "Question", "Thread"]

# Yields seconds of true time, a bell or a question.
Thread = Generator[Any, Any, Any]


class Question:
    """Requests under way; the asker gets their replies, or None when they are given up."""

    __slots__ = ("_asker", "_process")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._asker: Thread | None = None

    def attach(self, asker: Thread) -> None:
        """Have a thread wait for the answer."""
        self._asker = asker

    def answer(self, replies: list[Any] | None) -> None:
        """Let the asker go on."""
        assert self._asker is not None
        self._process.resume(self._asker, replies)


class Bell:
    """Wakes one thread of a process, at the latest after a time."""

    __slots__ = ("_process", "_ring_number", "_sleeper")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sleeper: Thread | None = None
        self._ring_number = 0

    def within(self, seconds: float | None) -> Bell:
        """Return what to yield in order to wait for so many seconds of the process's clock."""
        self._ring_number += 1
        if seconds is not None:
            lasting = self._process.clock.true_seconds(seconds)
            self._process.timeline.after(lasting, self._wake, self._ring_number)
        return self

    def attach(self, sleeper: Thread) -> None:
        """Have a thread wait."""
        self._sleeper = sleeper

    def ring(self) -> None:
        """Wake the thread, unless it is awake."""
        if self._sleeper is not None:
            self._process.timeline.after(1e-5, self._wake, self._ring_number)

    def _wake(self, ring_number: int) -> None:
        sleeper = self._sleeper
        if ring_number == self._ring_number and sleeper is not None:
            self._sleeper = None
            self._process.resume(sleeper, None)
