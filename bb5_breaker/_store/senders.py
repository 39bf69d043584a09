"""Lines of reports, numbered so that a repeat is recognised."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Final, NamedTuple

from bb5_breaker._core.commands import Record
from bb5_breaker._store.forks import renew_in_children
from bb5_breaker._store.identity import process_owner

__all__ = ["Sender", "SenderPool", "Unsure"]

_POOLS: Final = count()


class Sender:
    """One line of reports, used by one thread at a time.

    A store counts a report only when its number is above the last one of the same sender, so a
    repeat is harmless. That holds because a sender never has two reports under way.

    Args:
        name: Unique in the fleet.
    """

    __slots__ = ("name", "owner", "sequence")

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner = process_owner()
        self.sequence = 0


class Unsure(NamedTuple):
    """A report of which nobody knows whether it arrived.

    Args:
        command: The report.
        sender: Its sender, with its number; used for nothing else any more.
        at: When it was sent, in monotonic seconds.
    """

    command: Record
    sender: Sender
    at: float


class SenderPool:
    """The senders of one process and store.

    There are as many as reports were ever under way at once. A child process gets senders of
    its own, as its numbers would otherwise collide with its parent's. Thread-safe without a
    lock: the operations of the deque and of the counters are atomic.
    """

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without senders."""
        self._number = next(_POOLS)
        self._names = count()
        self._free: deque[Sender] = deque()

    def take(self) -> Sender:
        """Return a sender with its next number, for one report; to be given back after it.

        One that an interrupt took out of our hands is missed by nobody.
        """
        try:
            sender = self._free.pop()
        except IndexError:
            sender = Sender(f"{process_owner()}/{self._number}.{next(self._names)}")
        sender.sequence += 1
        return sender

    def give_back(self, sender: Sender) -> None:
        """Let others have a sender whose report is no longer under way."""
        self._free.append(sender)
