"""Numbers drawn by chance that leave the user's own alone."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["draw_between"]

# Of the system, not of the module: that one is the user's, who may have seeded it; and its state is
# copied by a fork, so that children would knock at a server in step.
_CHANCE: Final = random.SystemRandom()


def draw_between(least: float, most: float) -> float:
    """Return a number between two bounds."""
    return _CHANCE.uniform(least, most)
