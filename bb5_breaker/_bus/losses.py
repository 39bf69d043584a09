"""What could not be told, told in few words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from bb5_breaker._store.push.frames import Channel
from bb5_breaker.events import CircuitEvent, Event, EventMetadata, EventType

__all__ = ["TOO_SLOW", "Losses", "missed_events"]

_MOST_CHANNELS: Final = 1000
TOO_SLOW: Final = "handlers are too slow"


def missed_events(channel: str, count: int, reason: str, last: Event | None) -> Event:
    """Return the event that stands for others which are not told.

    Args:
        channel: Where they were published; empty for several.
        count: How many there were, at least.
        reason: Why they are not told.
        last: The last of them, whose state is told; None when it is not known.
    """
    data: dict[str, Any] = {"service": None}
    if isinstance(last, CircuitEvent):
        data = dict(last.data)
    metadata = EventMetadata(
        event_id=str(uuid4()),
        event_type=EventType.EVENTS_MISSED,
        timestamp=datetime.now(UTC).isoformat(),
        priority="high",
        source=channel,
    )
    return Event(metadata, {**data, "missed": count, "reason": reason})


@dataclass(slots=True)
class _Loss:
    vias: list[Channel | None] = field(default_factory=list)
    count: int = 0
    last: Event | None = None


class Losses:
    """Events that a full queue had no room for, by channel; a bounded number of channels.

    For use under the lock of the queue's owner, or by one thread.
    """

    def __init__(self) -> None:
        self._by_channel: dict[bytes, _Loss] = {}

    def __bool__(self) -> bool:
        return bool(self._by_channel)

    def note(self, via: Channel | None, channel: bytes, event: Event) -> None:
        """One event was dropped."""
        known = self._by_channel
        if channel not in known and len(known) >= _MOST_CHANNELS:
            channel, event = b"", Event(event.metadata)
        loss = known.setdefault(channel, _Loss())
        loss.count += 1
        loss.last = event
        if via not in loss.vias:
            loss.vias.append(via)

    def take(self) -> Iterator[tuple[list[Channel | None], bytes, Event]]:
        """Return how each loss is told, and forget it: the subscriptions, channel and event."""
        lost, self._by_channel = self._by_channel, {}
        for channel, loss in lost.items():
            # Over two subscriptions of one connection each event came twice.
            count = -(-loss.count // len(loss.vias))
            name = channel.decode(errors="replace")
            yield loss.vias, channel, missed_events(name, count, TOO_SLOW, loss.last)
