"""What is pushed to a process that holds views: transitions, and hints to look again."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bb5_breaker._core.replies import CircuitView, Verdict
from bb5_breaker.events import CircuitEvent, decode_event
from bb5_breaker.state import CircuitState

__all__ = ["read_transition", "view_of_transition"]

_MOST_ERROR_CHARACTERS: Final = 200
# Counts, and times up to the year 9999.
_GREATEST: Final = 253_402_300_799_999


def read_transition(service: str, payload: bytes) -> CircuitView | None:
    """Return the circuit as a published transition left it; None when the message is none.

    Args:
        service: The service whose channel it came over.
        payload: What was published; treated as hostile.
    """
    try:
        event = decode_event(payload)
        if not isinstance(event, CircuitEvent) or event.data.get("service") != service:
            return None
        return view_of_transition(event)
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def view_of_transition(event: CircuitEvent) -> CircuitView:
    """Return the circuit as a transition left it.

    Raises:
        ValueError, KeyError, TypeError, OverflowError: It is no script's.
    """
    data = event.data
    at_ms = round(datetime.fromisoformat(event.metadata.timestamp).timestamp() * 1000)
    return CircuitView(
        verdict=Verdict.SEEN,
        state=CircuitState(data["state"]),
        generation=_whole(data["generation"]),
        epoch=str(data["epoch"]),
        now_ms=at_ms,
        until_ms=_whole(data["open_until_ms"]),
        failures=_whole(data["failure_count"]),
        last_error=str(data["last_error"])[:_MOST_ERROR_CHARACTERS],
        last_failure_ms=0,
        moved_from=None,
        renewed=False,
    )


def _whole(value: object) -> int:
    # From Lua, numbers may arrive as floats.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError("not a whole number")
    if not 0 <= value <= _GREATEST:
        raise ValueError("not a count or a time in ms")
    return int(value)
