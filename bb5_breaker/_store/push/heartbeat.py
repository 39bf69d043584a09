"""When to ask whether the other side is alive, and when to stop believing it."""

from __future__ import annotations

__all__ = ["Heartbeat"]


class Heartbeat:
    """The deadlines of one connection; time comes in as monotonic seconds.

    A PING goes out every interval and has one interval to be answered, so a side that falls
    silent is noticed within two. Whatever arrives meanwhile counts as life.

    Args:
        interval: Seconds between PINGs, and for each answer.
        now: Time at which the connection was made.
    """

    def __init__(self, interval: float, now: float) -> None:
        self._interval = interval
        self._next_ping = now
        self._heard = now
        self._asked: float | None = None

    def is_due(self, now: float) -> bool:
        """Return True when a PING should go out."""
        return self._asked is None and now >= self._next_ping

    def note_ping(self, now: float) -> None:
        """A PING went out."""
        self._asked = now
        self._next_ping = now + self._interval

    def note_sign(self, now: float) -> None:
        """Something arrived."""
        self._heard = now

    def note_answer(self) -> None:
        """The answer to the PING arrived."""
        self._asked = None

    def is_dead(self, now: float) -> bool:
        """Return True when the PING that is out has waited for too long."""
        return self._asked is not None and now >= self._deadline(self._asked)

    def pause(self, now: float) -> float:
        """Return the seconds until there is something to do."""
        due = self._next_ping if self._asked is None else self._deadline(self._asked)
        return max(0.0, due - now)

    def _deadline(self, asked: float) -> float:
        return max(asked, self._heard) + self._interval
