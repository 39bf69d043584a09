"""Transitions told to an event bus that is not Redis: there the scripts tell them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final, Protocol, runtime_checkable

from bb5_breaker._core.replies import CircuitView
from bb5_breaker._store.identity import new_token
from bb5_breaker.events import CircuitEvent, Event, EventMetadata, EventType, Topics
from bb5_breaker.state import CircuitState

__all__ = ["Announcer", "Publisher", "check_publisher", "moment", "store_event"]

_log = logging.getLogger("bb5_breaker")
_TYPES: Final = {
    CircuitState.OPEN: EventType.CIRCUIT_OPENED,
    CircuitState.HALF_OPEN: EventType.CIRCUIT_HALF_OPEN,
    CircuitState.CLOSED: EventType.CIRCUIT_CLOSED,
}


@runtime_checkable
class Publisher(Protocol):
    """Anything that takes events: ``publish(topic, event)``."""

    def publish(self, topic: str, event: Any) -> Any:
        """Take one event."""


def check_publisher(bus: Any) -> None:
    """Refuse what can not take events.

    Raises:
        TypeError: The object has no ``publish`` method.
    """
    if bus is not None and not callable(getattr(bus, "publish", None)):
        raise TypeError(
            f"event_bus must have a method publish(topic, event), got {type(bus).__name__}"
        )


class Announcer:
    """Tells an event bus of the transitions that commands of this process made.

    A bus that carries Redis channels hears them from the scripts and is left alone. What a bus
    raises is logged: it must not reach the user's call.

    Args:
        service: Service id of the circuit.
    """

    __slots__ = ("_service", "bus")

    def __init__(self, service: str) -> None:
        self._service = service
        self.bus: Publisher | None = None

    @property
    def _told_bus(self) -> Publisher | None:
        """The bus, when it has to be told; None where it hears the scripts itself."""
        bus = self.bus
        return None if getattr(bus, "hears_scripts", False) else bus

    def tell_of_store(self, event: Event) -> None:
        """Publish that the store is away, or answers again."""
        bus = self._told_bus
        if bus is None:
            return
        try:
            bus.publish(Topics.STORE, event)
        except Exception:
            _log.exception("the event bus failed to publish what became of the store")

    def tell(self, view: CircuitView) -> None:
        """Publish the transition in a view, if there is one to publish."""
        bus = self._told_bus
        if bus is None or view.moved_from is None:
            return
        try:
            bus.publish(Topics.circuit_breaker_topic(self._service), _event_of(self._service, view))
        except Exception:
            _log.exception("the event bus failed to publish a transition of '%s'", self._service)


def store_event(event_type: EventType, address: str, error: str | None) -> Event:
    """Return the event that a store is away, or answers again, for this process.

    Args:
        event_type: STORE_UNAVAILABLE or STORE_AVAILABLE.
        address: Where the store is, without secrets.
        error: What is wrong; None when nothing is any more.
    """
    now = datetime.now(UTC).isoformat()
    metadata = EventMetadata(new_token(), event_type, now, "high", Topics.STORE)
    return Event(metadata, {"address": address, "error": error})


def moment(ms: int) -> datetime | None:
    """Return a time in ms as an aware UTC datetime; None for 0."""
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None


def _event_of(service: str, view: CircuitView) -> CircuitEvent:
    last_failure = moment(view.last_failure_ms)
    metadata = EventMetadata(
        event_id=f"{view.epoch}.{view.generation}:{service}",
        event_type=_TYPES[view.state],
        timestamp=datetime.fromtimestamp(view.now_ms / 1000, UTC).isoformat(),
        priority="high",
        source=Topics.circuit_breaker_topic(service),
    )
    data = {
        "service": service,
        "state": view.state.value,
        "failure_count": view.failures,
        "last_failure": last_failure.isoformat() if last_failure else None,
        "previous_state": view.moved_from.value if view.moved_from else None,
        "generation": view.generation,
    }
    return CircuitEvent(metadata, data)
