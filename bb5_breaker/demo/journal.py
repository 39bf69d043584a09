"""Collects what the processes of a demo tell, as it comes in."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from bb5_breaker.demo.evidence import Mark, SeenEvent, Tally
from bb5_breaker.demo.records import Call, ModeChange, Ready, Record, Request

__all__ = ["Journal"]


class Journal:
    """Everything that was seen so far. Thread-safe: each process has a thread that writes.

    Args:
        workers: How many workers there are; they are numbered from 1.
    """

    def __init__(self, workers: int) -> None:
        self._lock = threading.Lock()
        self._tallies = {number: Tally() for number in range(1, workers + 1)}
        self._calls: list[Call] = []
        self._requests: list[Request] = []
        self._modes: list[ModeChange] = []
        self._events: list[SeenEvent] = []
        self._marks: list[Mark] = []
        self._ports: list[int] = []

    def take(self, record: Record) -> None:
        """Take a record of any process."""
        with self._lock:
            match record:
                case Call():
                    self._calls.append(record)
                    self._tallies[record.worker] = self._tallies[record.worker].add(record)
                case Request():
                    self._requests.append(record)
                case ModeChange():
                    self._modes.append(record)
                case Ready():
                    self._ports.append(record.port)

    def hear(self, event: SeenEvent) -> None:
        """Take a transition."""
        with self._lock:
            self._events.append(event)

    def mark(self, mark: Mark) -> None:
        """Take the beginning of a phase."""
        with self._lock:
            self._marks.append(mark)

    @property
    def ports(self) -> Sequence[int]:
        """Ports of the processes that are ready; 0 for a worker."""
        with self._lock:
            return tuple(self._ports)

    @property
    def events(self) -> Sequence[SeenEvent]:
        """Transitions so far."""
        with self._lock:
            return tuple(self._events)

    @property
    def marks(self) -> Sequence[Mark]:
        """Phases so far."""
        with self._lock:
            return tuple(self._marks)

    @property
    def tallies(self) -> dict[int, Tally]:
        """What each worker did so far."""
        with self._lock:
            return dict(self._tallies)

    @property
    def modes(self) -> Sequence[ModeChange]:
        """What the service was told so far."""
        with self._lock:
            return tuple(self._modes)

    @property
    def calls(self) -> Sequence[Call]:
        """Calls of all workers so far."""
        with self._lock:
            return tuple(self._calls)

    @property
    def requests(self) -> Sequence[Request]:
        """Requests as the service saw them, so far."""
        with self._lock:
            return tuple(self._requests)
