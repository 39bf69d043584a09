"""Has open periods ended in time that this process hears of, also without a breaker here."""

from __future__ import annotations

import time
from collections.abc import Callable

from bb5_breaker._bus.notifications import Notifications
from bb5_breaker._shell.link import Link
from bb5_breaker._shell.notices import view_of_transition
from bb5_breaker._store.push.frames import Channel, Message
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.events import CircuitEvent
from bb5_breaker.exceptions import StoreError
from bb5_breaker.state import CircuitState

__all__ = ["Watch"]


class Watch:
    """Tells the recovery of circuits which are open, and until when. For the feed's thread.

    Args:
        store: Where the circuits are.
        link: The process's way there, which ends open periods.
        may_configure: Whether keyspace notifications may be switched on.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        store: RedisStore,
        link: Link,
        may_configure: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        # Held, so that it lives as long as there is something to end.
        self._link = link
        self._notifications = Notifications(store, may_configure)
        self._clock = clock
        # The server's time less that of this process, in seconds.
        self._ahead: float | None = None

    @property
    def channel(self) -> Channel:
        """Where the server tells of cooldown keys."""
        return self._notifications.channel

    def begin(self) -> int | None:
        """Compare the clocks and have the server tell of expiries; for each new connection.

        Returns:
            The time of the server in ms; None when the server does not tell it to this user, who
            then ends no open periods.

        Raises:
            StoreError: The server can not be reached.
        """
        self._notifications.enable()
        (time_,) = self._store.read_plain([("TIME",)], "none")
        if isinstance(time_, StoreError):
            self._ahead = None
            return None
        seconds, micros = map(int, time_)
        self._ahead = seconds + micros / 1e6 - self._clock()
        return seconds * 1000 + micros // 1000

    def note(self, event: CircuitEvent) -> None:
        """A transition was told, or is the last one of a circuit that is followed from now on."""
        try:
            told = view_of_transition(event)
        except (ValueError, KeyError, TypeError, OverflowError):
            return
        if told.state is not CircuitState.OPEN:
            # Who would have ended the open period need not any more.
            self._link.board.hear(event.service, told)
        elif self._ahead is not None:
            left = told.until_ms / 1000 - self._ahead - self._clock()
            self._link.recovery.expect(event.service, max(0.0, left))

    def hear(self, message: Message) -> None:
        """The server told of a cooldown key."""
        service = self._notifications.service_of(message)
        if service is not None:
            self._link.recovery.hurry(service)

    def note_refusal(self, reason: str) -> None:
        """The server does not tell this user of expiries."""
        self._notifications.note_refusal(reason)
