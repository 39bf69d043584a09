"""The outcome of one protected call as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bb5_breaker.state import CircuitState

__all__ = ["CallResult"]


@dataclass(frozen=True, slots=True)
class CallResult:
    """What became of a call, without raising its error.

    Args:
        success: The call ran and returned.
        exception: The error it raised, or the rejection; None after a success.
        duration_seconds: Time the call took; 0.0 when it was rejected.
        was_rejected: The circuit did not let it run.
        state_at_call: State of the circuit when the call was admitted or rejected.
        value: What the call returned; None when it did not.
    """

    success: bool
    exception: Exception | None = None
    duration_seconds: float = 0.0
    was_rejected: bool = False
    state_at_call: CircuitState = CircuitState.CLOSED
    value: Any = None

    @property
    def failed(self) -> bool:
        """True when the call ran and raised."""
        return not self.success and not self.was_rejected

    def to_dict(self) -> dict[str, Any]:
        """Return the result by field name; the exception as text, the state by its value."""
        return {
            "success": self.success,
            "failed": self.failed,
            "was_rejected": self.was_rejected,
            "duration_seconds": self.duration_seconds,
            "state_at_call": self.state_at_call.value,
            "exception": None if self.exception is None else str(self.exception),
        }
