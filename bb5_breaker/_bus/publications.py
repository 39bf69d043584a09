"""From the frames of a connection to events, each publication told once to each handler."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass, field

from bb5_breaker._bus.states import Counters
from bb5_breaker._store.push.frames import Channel, Message
from bb5_breaker.events import Event, decode_event

__all__ = ["Delivery", "PublicationReader"]

_log = logging.getLogger("bb5_breaker")


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event as it came through one subscription.

    Args:
        via: The subscription; None for all whose subscriptions match the channel.
        channel: The channel on which it was published.
        event: The event.
        served: Handlers that were given it, shared by all deliveries of one publication.
    """

    via: Channel | None
    channel: bytes
    event: Event
    served: set[Hashable]


@dataclass(slots=True)
class _Publication:
    channel: bytes
    payload: bytes
    event: Event | None
    arrived: set[Channel] = field(default_factory=set)
    served: set[Hashable] = field(default_factory=set)

    def includes(self, message: Message) -> bool:
        return (
            message.via not in self.arrived
            and message.channel == self.channel
            and message.payload == self.payload
        )


class PublicationReader:
    """Puts together what one publication sent through several subscriptions.

    Redis sends a publication once through each matching subscription of the connection, one
    right after the other. So as long as the subscriptions stay the same, the next publication
    begins where one comes a second time; :meth:`note_change` tells when they do not stay the
    same. Used by the feed's thread alone.

    Args:
        counters: Where publications are counted.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._current: _Publication | None = None
        self._complained = False

    def note_change(self) -> None:
        """The subscriptions of the connection changed."""
        self._current = None

    def read(self, message: Message) -> Delivery | None:
        """Return the delivery of a message; None when it holds no event."""
        current = self._current
        if current is None or not current.includes(message):
            event = self._decode(message)
            current = self._current = _Publication(message.channel, message.payload, event)
        current.arrived.add(message.via)
        if current.event is None:
            return None
        return Delivery(message.via, message.channel, current.event, current.served)

    def _decode(self, message: Message) -> Event | None:
        self._counters.received += 1
        try:
            return decode_event(message.payload)
        except ValueError as error:
            self._counters.malformed += 1
            self._complain(message.channel, error)
            return None

    def _complain(self, channel: bytes, error: ValueError) -> None:
        if not self._complained:
            self._complained = True
            _log.warning(
                "skipped what was published on %r, for it is no event: %s. Find out who publishes "
                "it; more of the kind is only counted, in the stats of the bus",
                channel[:200].decode(errors="replace"),
                error,
            )
