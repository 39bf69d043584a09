"""The clocks of the processes: none agrees with another, and all run at their own rate."""

from __future__ import annotations

import random

from .timeline import Timeline

__all__ = ["LocalClock"]


class LocalClock:
    """Monotonic seconds of one process: skewed, drifting, and coarse on some machines.

    Args:
        timeline: The true time.
        rng: Draws the errors.
    """

    __slots__ = ("_offset", "_timeline", "grain", "rate")

    def __init__(self, timeline: Timeline, rng: random.Random) -> None:
        self._timeline = timeline
        self._offset = rng.uniform(0.0, 10_000.0)
        self.rate = rng.uniform(0.98, 1.02)
        self.grain = rng.choice((0.0, 0.0, 0.0, 0.016))

    def __call__(self) -> float:
        """Return the time."""
        now = self._offset + self._timeline.now * self.rate
        return now - now % self.grain if self.grain else now

    def true_seconds(self, seconds: float) -> float:
        """Return how long that many seconds of this clock last, rounded up a little."""
        return seconds / self.rate + 1e-6
