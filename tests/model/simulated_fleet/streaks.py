"""Consecutive failures of the fleet, by the true times at which calls ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bb5_breaker._core.commands import Outcome
from bb5_breaker._core.replies import CircuitView
from bb5_breaker.state import CircuitState

from .calls import Violation
from .timeline import Timeline

if TYPE_CHECKING:
    from .network import Request

__all__ = ["StreakWatch"]

# What clocks of a grain of 16 ms and whole milliseconds may be wrong by; and their drift.
_GRAIN = 0.04
_DRIFT = 0.06


class StreakWatch:
    """Checks that each failure counts at once, and that only later successes end a streak."""

    def __init__(self, timeline: Timeline, threshold: int) -> None:
        self._timeline = timeline
        self._threshold = threshold
        self._length = 0
        self._began_at = 0.0

    def note(self, failures: int) -> None:
        """Take note of the present streak."""
        if failures and not self._length:
            self._began_at = self._timeline.now
        self._length = failures

    def check_report(self, request: Request, told: CircuitView) -> None:
        """Check what a report that counts made of the streak."""
        failed = sum(call.outcome is Outcome.FAILURE for call in request.calls)
        ended = [call.ended_at for call in request.calls if call.outcome is Outcome.SUCCESS]
        goes_on = told.failures == self._length + failed
        if told.failures != failed and not goes_on:
            raise Violation("d: each failure once", f"{request} after {self._length}: {told}")
        if self._length and ended:
            self._check_end(request, max(ended), goes_on)
            if not goes_on:
                self._length = 0
        elif not goes_on and not ended:
            raise Violation("d: each failure once", f"{request} after {self._length}: {told}")
        tripped = told.moved_from is CircuitState.CLOSED
        if tripped != (failed > 0 and told.failures >= self._threshold):
            raise Violation(
                "d: opens at the threshold", f"{told.failures} of {self._threshold}: {told}"
            )

    def _check_end(self, request: Request, last: float, goes_on: bool) -> None:
        now = self._timeline.now
        slack = _GRAIN + _DRIFT * (now - last)
        # On its way a report ages without anybody knowing.
        under_way = now - request.taken_at
        if goes_on and last > self._began_at + slack:
            raise Violation("d: streaks", f"a success at {last} did not end one: {request}")
        if not goes_on and last + under_way + slack < self._began_at:
            raise Violation("d: streaks", f"a success at {last} ended a later one: {request}")
