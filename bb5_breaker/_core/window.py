"""The sliding window of a circuit that lives in one process: runs of equal outcomes."""

from __future__ import annotations

from collections import deque

from bb5_breaker._core.commands import Outcome

__all__ = ["SlidingWindow"]


class SlidingWindow:
    """The last calls as runs; costs what alternates, not what happened."""

    __slots__ = ("_runs", "calls", "failures")

    def __init__(self) -> None:
        self._runs: deque[tuple[Outcome, int]] = deque()
        self.calls = 0
        self.failures = 0

    def add(self, outcome: Outcome, count: int, size: int) -> None:
        """Add ``count`` equal outcomes and keep the latest ``size`` calls."""
        continued = bool(self._runs) and self._runs[-1][0] is outcome
        before = self._runs.pop()[1] if continued else 0
        self._runs.append((outcome, before + count))
        self._tally(outcome, count)
        while self.calls > size and self._runs:
            self._drop(self.calls - size)

    def count_again(self) -> None:
        """Make the figures agree with the runs, after a change that was interrupted."""
        self.calls = sum(count for _, count in self._runs)
        self.failures = sum(count for outcome, count in self._runs if outcome is Outcome.FAILURE)

    def _drop(self, excess: int) -> None:
        outcome, count = self._runs.popleft()
        if count > excess:
            self._runs.appendleft((outcome, count - excess))
        self._tally(outcome, -min(count, excess))

    def _tally(self, outcome: Outcome, count: int) -> None:
        self.calls += count
        if outcome is Outcome.FAILURE:
            self.failures += count
