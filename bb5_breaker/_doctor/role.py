"""What a user of Redis is for."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Role"]


class Role(StrEnum):
    """What a user of Redis is for; each needs rights of its own.

    A breaker is any process with breakers or a manager. A bus is one that has an event bus as
    well, perhaps with consumer groups. A reader looks with the command line and changes nothing.
    """

    BREAKER = "breaker"
    BUS = "bus"
    READER = "reader"
