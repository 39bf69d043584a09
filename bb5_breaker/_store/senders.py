"""Lines of reports, numbered so that a repeat is recognised."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

from bb5_breaker._store.identity import process_owner

__all__ = ["Sender", "SenderPool"]

_POOLS: Final = count()


class Sender:
    """One line of reports, used by one thread at a time.

    A store counts a report only when its number is above the last one of the same sender, so a
    repeat is harmless. That holds because a sender never has two reports under way.
    """

    __slots__ = ("name", "sequence")

    def __init__(self, name: str) -> None:
        self.name = name
        self.sequence = 0


class SenderPool:
    """The senders of one process and store.

    There are as many as reports were ever under way at once. A child process gets senders of
    its own, as its numbers would otherwise collide with its parent's. Thread-safe without a
    lock: the operations of the deque and of the counters are atomic.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._pool = next(_POOLS)
        self._numbers = count()
        self._free: deque[Sender] = deque()

    @contextmanager
    def borrow(self) -> Iterator[Sender]:
        """Lend a sender with its next number for one report."""
        if self._pid != os.getpid():
            self._start()
        free = self._free
        try:
            sender = free.pop()
        except IndexError:
            sender = Sender(f"{process_owner()}/{self._pool}.{next(self._numbers)}")
        sender.sequence += 1
        try:
            yield sender
        finally:
            free.append(sender)
