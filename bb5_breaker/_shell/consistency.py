"""Whether calls go by what the process knows, or ask each time."""

from __future__ import annotations

from enum import Enum

from bb5_breaker.checks import check_choice

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
        return check_choice("consistency", name, Consistency)
