"""The three states of a circuit."""

from __future__ import annotations

from enum import Enum

__all__ = ["CircuitState"]


class CircuitState(str, Enum):  # noqa: UP042 - StrEnum would lose the specified base class order
    """State of a circuit; ``str()`` and f-strings give the bare value."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"

    def __str__(self) -> str:
        return self.value

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec)
