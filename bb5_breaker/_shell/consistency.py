"""Whether calls go by what the process knows, or ask each time."""

from __future__ import annotations

from enum import Enum

__all__ = ["Consistency"]


class Consistency(Enum):
    """How a call decides; see :func:`~bb5_breaker.configure`."""

    CACHED = "cached"
    STRICT = "strict"

    @staticmethod
    def named(name: object) -> Consistency:
        """Return the one of that name.

        Raises:
            ValueError: There is none.
        """
        for known in Consistency:
            if name == known.value:
                return known
        raise ValueError(f"consistency must be 'cached' or 'strict', got {name!r}")
