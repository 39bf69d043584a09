"""What the feed asked of Redis, what Redis confirmed, and who waits for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from bb5_breaker._bus.registry import Registry, Subscription
from bb5_breaker._bus.states import BusState
from bb5_breaker._store.push.frames import Channel
from bb5_breaker.exceptions import EventBusError

__all__ = ["Ask", "Ledger"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One SUBSCRIBE or UNSUBSCRIBE of one name, numbered in the order of sending."""

    channel: Channel
    joins: bool
    number: int


class Ledger:
    """Written by the feed's thread, waited on by callers. Thread-safe.

    Args:
        registry: What is needed of Redis. It is read under the ledger's lock, so that nothing
            that callers add or take out falls between a look at it and a look at the ledger.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._changed = threading.Condition()
        self._state = BusState.CONNECTING
        self._error: EventBusError | None = None
        self._sent = 0
        self._asked: dict[Channel, int] = {}
        self._confirmed: set[Channel] = set()
        self._refused: dict[Channel, EventBusError] = {}

    @property
    def state(self) -> BusState:
        """State of the connection."""
        return self._state

    def enter(self, state: BusState, error: EventBusError | None = None) -> None:
        """Change the state; an error says why there is no connection."""
        with self._changed:
            self._state = state
            self._error = error
            self._changed.notify_all()

    def enter_connected(self) -> bool:
        """Become connected, unless the registry needs something that was not answered yet.

        A subscription that was not waited for, because there was no connection, is in force once
        there is one.
        """
        with self._changed:
            if not all(map(self._is_answered, self._registry.channels())):
                return False
            self._state = BusState.CONNECTED
            self._changed.notify_all()
            return True

    def plan(self) -> list[Ask]:
        """Return what must be sent so that Redis sends what the registry needs."""
        with self._changed:
            wanted = self._registry.channels()
            leaving = [channel for channel in self._asked if channel not in wanted]
            joining = [channel for channel in wanted if channel not in self._asked]
            asks = [*map(self._leave, leaving), *map(self._join, joining)]
            self._changed.notify_all()
            return asks

    def confirm(self, ask: Ask) -> None:
        """Redis carried an ask out."""
        with self._changed:
            if self._is_latest(ask):
                self._confirmed.add(ask.channel)
                self._changed.notify_all()

    def refuse(self, ask: Ask, error: EventBusError) -> None:
        """Redis refused an ask; it is not repeated on this connection."""
        with self._changed:
            if self._is_latest(ask):
                self._refused[ask.channel] = error
                self._changed.notify_all()

    def forget_all(self) -> None:
        """The connection is gone, and with it all that was asked."""
        with self._changed:
            self._asked.clear()
            self._confirmed.clear()
            self._refused.clear()

    def await_connection(self, seconds: float) -> bool:
        """Wait until the first attempt to connect has ended.

        Returns:
            False when it has not ended in that time.

        Raises:
            EventBusError: It failed.
        """
        with self._changed:
            ended = self._changed.wait_for(
                lambda: self._state is not BusState.CONNECTING, timeout=seconds
            )
            if self._state is BusState.DISCONNECTED and self._error is not None:
                raise self._error
            return ended

    def await_confirmation(self, subscription: Subscription, seconds: float) -> bool:
        """Wait until Redis sends what is published for a subscription from now on.

        There is nothing to wait for without a connection, for it is asked on the next one, and
        when another thread takes the subscription out meanwhile.

        Returns:
            False when it was not confirmed in that time.

        Raises:
            EventBusError: Redis refused.
        """
        with self._changed:
            ended = self._changed.wait_for(lambda: self._is_over(subscription), timeout=seconds)
            if subscription.interest.channel in self._refused:
                raise self._refused[subscription.interest.channel]
            return ended

    def is_answered(self, channel: Channel) -> bool:
        """Return True when Redis carried out, or refused, the subscription to a channel."""
        with self._changed:
            return self._is_answered(channel)

    def _is_over(self, subscription: Subscription) -> bool:
        return (
            self._state is not BusState.CONNECTED
            or self._is_answered(subscription.interest.channel)
            or not self._registry.holds(subscription)
        )

    def _is_answered(self, channel: Channel) -> bool:
        return channel in self._confirmed or channel in self._refused

    def _is_latest(self, ask: Ask) -> bool:
        # Left and joined again meanwhile: only the last answer says how it stands.
        return ask.joins and self._asked.get(ask.channel) == ask.number

    def _join(self, channel: Channel) -> Ask:
        self._sent += 1
        self._asked[channel] = self._sent
        return Ask(channel, True, self._sent)

    def _leave(self, channel: Channel) -> Ask:
        self._sent += 1
        del self._asked[channel]
        self._confirmed.discard(channel)
        self._refused.pop(channel, None)
        return Ask(channel, False, self._sent)
