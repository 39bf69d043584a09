"""How long to wait before the next attempt."""

from __future__ import annotations

from collections.abc import Callable

from bb5_breaker._store.chance import draw_between

__all__ = ["Backoff"]


class Backoff:
    """Waits that double up to a bound, each shortened by chance so that a fleet spreads out.

    Args:
        least: First wait in seconds.
        most: Longest wait in seconds.
        draw: Gives a number between two bounds; replaced in tests.
    """

    def __init__(
        self, least: float, most: float, draw: Callable[[float, float], float] = draw_between
    ) -> None:
        self._least = least
        self._most = most
        self._draw = draw
        self._next = least

    def next_delay(self) -> float:
        """Return the seconds to wait now, half to all of the wait that has been reached."""
        delay = self._next
        self._next = min(self._most, delay * 2)
        return self._draw(delay / 2, delay)

    def note_lifetime(self, seconds: float) -> None:
        """Begin anew after a connection that lived longer than the longest wait.

        One that was cut sooner goes on waiting longer: a server that accepts and cuts must not
        be knocked at in a tight loop.
        """
        if seconds > self._most:
            self._next = self._least
