"""The clocks of the processes: none agrees with another, and all run at their own rate."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bb5_breaker._shell import listening

from .timeline import Timeline

__all__ = ["RUNNING", "LocalClock", "simulated_time"]


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


class _RunningTime:
    """Stands in for the module ``time``: the clock of the process that runs at the moment."""

    def __init__(self) -> None:
        self.monotonic: Any = None


RUNNING = _RunningTime()


@contextmanager
def simulated_time() -> Iterator[None]:
    """Have the code of the feed, which takes no clock, read the running process's."""
    names = vars(listening)
    real = names["time"]
    names["time"] = RUNNING
    try:
        yield
    finally:
        names["time"] = real
