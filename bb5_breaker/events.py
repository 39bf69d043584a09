"""What is announced: topics, event types and the envelope on the wire."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import msgpack

from bb5_breaker.service_id import check_service_id
from bb5_breaker.state import CircuitState

__all__ = [
    "MAX_PAYLOAD",
    "CircuitEvent",
    "Event",
    "EventMetadata",
    "EventType",
    "Topics",
    "decode_event",
    "encode_event",
]

MAX_PAYLOAD: Final = 16 * 1024

# Space for the items that a msgpack array announces is taken before they are
# read: nested announcements of 16,384 made 80 MB of a payload of 3 KB.
_MOST_ITEMS: Final = 1024


class EventType(str, Enum):  # noqa: UP042 - same base classes as CircuitState
    """Kinds of events; ``str()`` gives the bare value."""

    TASK_CREATED = "task.created"
    TASK_STARTED = "task.started"
    TASK_COMPLETED = "task.completed"
    TASK_FAILED = "task.failed"
    TASK_CANCELLED = "task.cancelled"
    AGENT_STARTED = "agent.started"
    AGENT_STOPPED = "agent.stopped"
    AGENT_ERROR = "agent.error"
    SYSTEM_STARTUP = "system.startup"
    SYSTEM_SHUTDOWN = "system.shutdown"
    SYSTEM_ERROR = "system.error"
    CIRCUIT_OPENED = "circuit.opened"
    CIRCUIT_CLOSED = "circuit.closed"
    CIRCUIT_HALF_OPEN = "circuit.half_open"
    EVENTS_MISSED = "system.events_missed"
    STORE_UNAVAILABLE = "system.store_unavailable"
    STORE_AVAILABLE = "system.store_available"
    CUSTOM = "custom"

    def __str__(self) -> str:
        return self.value

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec)


class Topics:
    """Names of the channels."""

    CIRCUIT_BREAKER_ALL = "circuit_breaker.*"
    CIRCUIT_BREAKER_STATE = "circuit_breaker.state"
    # Told in the process that it concerns, to nobody else.
    STORE = "system.store"

    @staticmethod
    def circuit_breaker_topic(service: str) -> str:
        """Return the channel of one service.

        Args:
            service: Service id.

        Returns:
            ``circuit_breaker.<service>``.

        Raises:
            ValueError: The id is malformed.
        """
        return f"circuit_breaker.{check_service_id(service)}"


@dataclass(frozen=True, slots=True)
class EventMetadata:
    """Who announced what, and when.

    Args:
        event_id: Unique id; of circuit events ``<stream id>:<service>``, in the order of time.
        event_type: One of :class:`EventType`, or the text of a kind this version does not know.
        timestamp: ISO 8601 time in UTC on the server's clock.
        priority: "low", "normal", "high" or "critical"; circuit events are "high".
        source: Channel or component that announced it.
        correlation_id: Id that ties events together; None without one.
        causation_id: Id of the event that caused this one; None without one.
        version: Version of the envelope.
    """

    event_id: str
    event_type: EventType | str
    timestamp: str
    priority: str = "normal"
    source: str = ""
    correlation_id: str | None = None
    causation_id: str | None = None
    version: str = "1.0"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: ``metadata`` and the ``data`` dict of its kind."""

    metadata: EventMetadata
    data: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope ``{"metadata": {...}, "data": {...}}`` of plain values."""
        names = EventMetadata.__slots__
        metadata = {name: getattr(self.metadata, name) for name in names}
        metadata["event_type"] = str(self.metadata.event_type)
        return {"metadata": metadata, "data": dict(self.data)}


class CircuitEvent(Event):
    """A transition of a circuit; ``data`` has service, state, failure_count, last_failure."""

    # No field of its own, so all that a dataclass has is inherited.
    __slots__ = ()

    @property
    def service(self) -> str:
        """Service id of the circuit."""
        return str(self.data["service"])

    @property
    def state(self) -> CircuitState:
        """State that was entered."""
        return CircuitState(self.data["state"])

    @property
    def failure_count(self) -> int:
        """Consecutive failures at the transition."""
        return int(self.data.get("failure_count", 0))

    @property
    def generation(self) -> int:
        """Number of the state that was entered."""
        return int(self.data.get("generation", 0))

    @property
    def epoch(self) -> str:
        """Name of the circuit's life; empty when a breaker without Redis told of it."""
        return str(self.data.get("epoch", ""))

    @property
    def reason(self) -> str:
        """Why: failure_threshold, probe_failed, timeout_elapsed, success_threshold or reset."""
        return str(self.data.get("reason", ""))


_CIRCUIT_TYPES = frozenset(
    {EventType.CIRCUIT_OPENED, EventType.CIRCUIT_CLOSED, EventType.CIRCUIT_HALF_OPEN}
)


def encode_event(event: Event, event_format: str = "msgpack") -> bytes:
    """Return the wire form of an event.

    Args:
        event: The event; its data must be of plain values under text keys.
        event_format: "msgpack" or "json".

    Returns:
        The bytes to publish, at most 16 KiB.

    Raises:
        ValueError: The format is unknown, the data can not be encoded, or it is too large.
    """
    envelope = event.to_dict()
    try:
        if event_format == "msgpack":
            payload = bytes(msgpack.packb(envelope, use_bin_type=False))
        elif event_format == "json":
            payload = json.dumps(envelope, allow_nan=False).encode()
        else:
            raise ValueError(f"event_format must be 'msgpack' or 'json', got {event_format!r}")
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"event data must be plain values: {error}") from error
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"an event may take {MAX_PAYLOAD} bytes on the wire, got {len(payload)}")
    try:
        # Every reader would skip what this one can not read.
        decode_event(payload)
    except ValueError as error:
        raise ValueError(f"no reader could take this event: {error}") from error
    return payload


def decode_event(payload: bytes) -> Event:
    """Return the event in a payload from the wire, JSON or msgpack by its first byte.

    Args:
        payload: What came over a channel; treated as hostile.

    Returns:
        A :class:`CircuitEvent` for a well-formed transition, else an :class:`Event`.

    Raises:
        ValueError: Too large, malformed, or not an envelope.
    """
    if not 0 < len(payload) <= MAX_PAYLOAD:
        raise ValueError(f"payload must have 1 to {MAX_PAYLOAD} bytes, got {len(payload)}")
    try:
        envelope = json.loads(payload) if payload[:1] == b"{" else _unpack(payload)
    except RecursionError as error:
        raise ValueError("payload is nested too deeply") from error
    except Exception as error:
        raise ValueError(f"payload is neither JSON nor msgpack: {type(error).__name__}") from error
    return _read_envelope(envelope)


def _unpack(payload: bytes) -> Any:
    return msgpack.unpackb(
        payload,
        raw=False,
        strict_map_key=True,
        max_str_len=MAX_PAYLOAD,
        max_bin_len=MAX_PAYLOAD,
        max_array_len=_MOST_ITEMS,
        max_map_len=_MOST_ITEMS,
        max_ext_len=0,
    )


def _read_envelope(envelope: Any) -> Event:
    metadata = envelope.get("metadata") if isinstance(envelope, dict) else None
    data = envelope.get("data") if isinstance(envelope, dict) else None
    if not isinstance(metadata, dict) or not isinstance(data, dict):
        raise ValueError("envelope must be {metadata: {...}, data: {...}}")
    event_type = _text(metadata, "event_type")
    known = event_type in EventType._value2member_map_
    read = EventMetadata(
        event_id=_text(metadata, "event_id"),
        event_type=EventType(event_type) if known else event_type,
        timestamp=_text(metadata, "timestamp"),
        priority=_text(metadata, "priority", "normal"),
        source=_text(metadata, "source", ""),
        correlation_id=_optional_text(metadata, "correlation_id"),
        causation_id=_optional_text(metadata, "causation_id"),
        version=_text(metadata, "version", "1.0"),
    )
    if read.event_type in _CIRCUIT_TYPES:
        _check_circuit_data(data)
        return CircuitEvent(read, data)
    return Event(read, data)


def _check_circuit_data(data: dict[str, Any]) -> None:
    check_service_id(data.get("service"))
    state = data.get("state")
    if not isinstance(state, str) or state not in CircuitState._value2member_map_:
        raise ValueError("data.state must be closed, open or half_open")
    for name in ("failure_count", "generation"):
        number = data.get(name, 0)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f"data.{name} must be a whole number of at least 0")


def _text(fields: dict[str, Any], name: str, otherwise: str | None = None) -> str:
    value = fields.get(name, otherwise)
    if not isinstance(value, str):
        raise ValueError(f"metadata.{name} must be text")
    return value


def _optional_text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"metadata.{name} must be text or null")
    return value
