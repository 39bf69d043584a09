"""Transitions as the scripts publish them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgpack

from bb5_breaker._core.replies import CircuitView
from bb5_breaker.state import CircuitState

__all__ = ["CHANNEL", "NOTICES", "PREFIX", "write_transition"]

PREFIX: Final = "cb"
CHANNEL: Final = b"cb.svc"
NOTICES: Final = b"cb:views"
_EVENTS: Final = {
    CircuitState.CLOSED: "circuit.closed",
    CircuitState.OPEN: "circuit.opened",
    CircuitState.HALF_OPEN: "circuit.half_open",
}


def write_transition(service: str, told: CircuitView) -> bytes:
    """Return the message of a transition, with what readers look at."""
    metadata = {
        "event_id": f"{told.now_ms}-{told.generation}:{service}",
        "event_type": _EVENTS[told.state],
        "timestamp": datetime.fromtimestamp(told.now_ms / 1000, UTC).isoformat(),
    }
    data = {
        "service": service,
        "state": told.state.value,
        "failure_count": told.failures,
        "generation": told.generation,
        "epoch": told.epoch,
        "last_error": told.last_error,
        "open_until_ms": told.until_ms if told.state is CircuitState.OPEN else 0,
    }
    return bytes(msgpack.packb({"metadata": metadata, "data": data}))
