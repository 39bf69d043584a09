"""From the thread of the bus to the one that prints."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from bb5_breaker.events import Event

__all__ = ["Handover"]

_MOST: Final = 100


class Handover:
    """A short queue of events. Thread-safe.

    Who puts one in waits for room. So when nobody reads the output it is the bus that leaves
    events out, and says so.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, event: Event) -> None:
        """Put an event in, as soon as there is room; nothing happens after :meth:`close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._events) < _MOST)
            if not self._is_closed:
                self._events.append(event)
                self._changed.notify_all()

    def take(self, seconds: float) -> Event | None:
        """Take the oldest event out; None when none came within some seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._events), seconds):
                return None
            self._changed.notify_all()
            return self._events.popleft()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
