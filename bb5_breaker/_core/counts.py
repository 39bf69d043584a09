"""What a circuit that lives in one process counts."""

from __future__ import annotations

from bb5_breaker._core.commands import Outcome
from bb5_breaker._core.window import SlidingWindow

__all__ = ["Counts", "Streak"]


class Streak:
    """Consecutive failures, and since when there are any."""

    __slots__ = ("_began_ms", "failures")

    def __init__(self) -> None:
        self._began_ms = 0
        self.failures = 0

    def add(self, count: int, now_ms: int) -> None:
        """Add failures; the first of them begins the streak."""
        if self.failures == 0:
            self._began_ms = now_ms
        self.failures += count

    def adopt(self, failures: int) -> None:
        """Go on from failures that were counted elsewhere."""
        self.failures = failures

    def end(self) -> None:
        """Begin anew."""
        self.failures = 0

    def outlasts(self, age_ms: int, now_ms: int) -> bool:
        """Tell whether a success of some age is from before the streak, and does not end it.

        A streak that began after now is of a clock that was set back: the age tells nothing.
        """
        return self.failures > 0 and now_ms - age_ms < self._began_ms <= now_ms


class Counts:
    """Totals, the last of each kind, and the sliding window."""

    __slots__ = (
        "error",
        "failed_ms",
        "rejections",
        "succeeded_ms",
        "total_failures",
        "total_successes",
        "window",
    )

    def __init__(self) -> None:
        self.window = SlidingWindow()
        self.total_successes = self.total_failures = self.rejections = 0
        self.failed_ms = self.succeeded_ms = 0
        self.error = ""

    def add(self, outcome: Outcome, count: int, size: int, error: str, now_ms: int) -> None:
        """Add ``count`` equal outcomes; the window keeps the latest ``size`` calls."""
        self.window.add(outcome, count, size)
        if outcome is Outcome.FAILURE:
            self.total_failures += count
            self.failed_ms = now_ms
            self.error = error
        else:
            self.total_successes += count
            self.succeeded_ms = now_ms
