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
from bb5_breaker.exceptions import StoreError, StoreUnavailableError
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
            The time of the server in ms, of several the earliest; None when it is not told to
            this user, who then ends no open periods.

        Raises:
            StoreError: The server can not be reached.
        """
        self._notifications.enable()
        times = self._read_times()
        if not times:
            self._ahead = None
            return None
        # Of several clocks the one that is ahead: asked too soon, the store says so. What
        # happens from now on happens after the one that is behind.
        self._ahead = max(times) - self._clock()
        return int(min(times) * 1000)

    def _read_times(self) -> list[float]:
        """Return the seconds on the clocks of all servers that tell them.

        Raises:
            StoreUnavailableError: None can be reached.
        """
        times: list[float] = []
        trouble: StoreUnavailableError | None = None
        for server in self._store.servers():
            try:
                seconds, micros = map(int, server.command("TIME"))
            except StoreUnavailableError as error:
                trouble = error
            except StoreError:
                continue
            else:
                times.append(seconds + micros / 1e6)
        if trouble is not None and not times:
            raise trouble
        return times

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
