"""Numbers and orders drawn by chance that leave the user's own alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, TypeVar

__all__ = ["draw_between", "shuffle"]

Item = TypeVar("Item")
# Of the system, not of the module: that one is the user's, who may have seeded it; and its state is
# copied by a fork, so that children would knock at a server in step.
_CHANCE: Final = random.SystemRandom()


def draw_between(least: float, most: float) -> float:
    """Return a number between two bounds."""
    return _CHANCE.uniform(least, most)


def shuffle(items: Sequence[Item]) -> list[Item]:
    """Return the same items in an order drawn by chance."""
    return _CHANCE.sample(items, len(items))
