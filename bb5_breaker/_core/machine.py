"""The rules of a circuit in one process: what the scripts do, without a store.

It serves a process that shares its circuits with nobody, by choice or because the store does
not answer. Time comes in as an argument. Not thread-safe: its holder takes care of that.
"""

from __future__ import annotations

from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    CountRejections,
    Extend,
    Look,
    Outcome,
    Promote,
    Purpose,
    Record,
    Reset,
    Restore,
    Settle,
)
from bb5_breaker._core.counts import Counts, Streak
from bb5_breaker._core.course import Course
from bb5_breaker._core.policy import Policy
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Verdict
from bb5_breaker._core.window import SlidingWindow
from bb5_breaker.state import CircuitState

__all__ = ["Machine"]


class Machine:
    """One circuit and its rules.

    Args:
        epoch: Name of this life of the circuit.
        owner: Who makes its changes.
    """

    __slots__ = (
        "_counts",
        "_course",
        "_epoch",
        "_half_open_ms",
        "_leases",
        "_opened_ms",
        "_owner",
        "_streak",
        "_successes",
        "_until_ms",
    )

    def __init__(self, epoch: str, owner: str) -> None:
        self._epoch = epoch
        self._owner = owner
        self._course = Course()
        self._streak = Streak()
        self._successes = self._until_ms = self._opened_ms = self._half_open_ms = 0
        self._leases: dict[str, int] = {}
        self._clear()

    def apply(self, command: Command, now_ms: int) -> CircuitView:
        """Carry out a command other than Snapshot and Forget at a time in ms."""
        self._course.moved_from = None
        policy = command.circuit.policy
        match command:
            case Admit():
                verdict, until_ms = self._admit(command, policy, now_ms)
                return self._view(verdict, now_ms, until_ms)
            case Record():
                verdict = self._record(command, policy, now_ms)
            case Settle():
                verdict = self._settle(command, policy, now_ms)
            case Extend():
                verdict, until_ms = self._extend(command, policy, now_ms)
                return self._view(verdict, now_ms, until_ms)
            case Promote():
                verdict = self._promote(now_ms)
            case Restore():
                verdict = self._restore(command, now_ms)
            case Reset():
                verdict = self._reset(now_ms)
            case Clear():
                verdict = self._clear()
            case CountRejections():
                verdict = self._count_rejections(command)
            case Look():
                verdict = Verdict.SEEN
            case _:
                raise TypeError(f"no rule for {type(command).__name__}")
        return self._view(verdict, now_ms, self._until_ms if self._course.is_open else 0)

    def mend(self) -> None:
        """Make a circuit whole again whose change was interrupted."""
        self._counts.window.count_again()

    def snapshot(self, now_ms: int) -> CircuitSnapshot:
        """Return all that is known of the circuit."""
        counts = self._counts
        return CircuitSnapshot(
            exists=True,
            now_ms=now_ms,
            state=self._course.state,
            generation=self._course.generation,
            epoch=self._epoch,
            failures=self._streak.failures,
            total_successes=counts.total_successes,
            total_failures=counts.total_failures,
            rejections=counts.rejections,
            transitions=self._course.transitions,
            window_calls=counts.window.calls,
            window_failures=counts.window.failures,
            active_probes=sum(end > now_ms for end in self._leases.values()),
            last_failure_ms=counts.failed_ms,
            last_success_ms=counts.succeeded_ms,
            last_error=counts.error,
            opened_ms=self._opened_ms,
            open_until_ms=self._until_ms if self._opened_ms else 0,
            half_open_ms=self._half_open_ms,
            changed_ms=self._course.moved_ms,
            changed_by=self._owner if self._course.reason else "",
            reason=self._course.reason,
        )

    def _admit(self, request: Admit, policy: Policy, now_ms: int) -> tuple[Verdict, int]:
        self._promote(now_ms)
        if self._course.is_closed:
            return Verdict.ALLOW, 0
        # Also while open: what is taken back stays so, even where the clock is set back.
        self._leases = {name: end for name, end in self._leases.items() if end > now_ms}
        if self._course.is_open:
            self._counts.rejections += request.purpose is Purpose.CALL
            return Verdict.REJECT, self._until_ms
        if len(self._leases) >= policy.half_open_max_calls:
            self._counts.rejections += request.purpose is Purpose.CALL
            return Verdict.REJECT, min(self._leases.values())
        self._leases[request.token] = now_ms + policy.lease_ms
        return Verdict.PROBE, self._leases[request.token]

    def _record(self, report: Record, policy: Policy, now_ms: int) -> Verdict:
        known = report.epoch in ("", self._epoch) and report.generation == self._course.generation
        if not self._course.is_closed or not known:
            return Verdict.STALE
        threshold, late = policy.failure_threshold, self._streak.outlasts(report.age_ms, now_ms)
        for index, run in enumerate(report.runs):
            count, failed = run.count, run.outcome is Outcome.FAILURE
            if failed:
                count = min(count, max(1, threshold - self._streak.failures))
                self._streak.add(count, now_ms)
            elif index > 0 or not late:
                self._streak.end()
            self._count(run.outcome, count, policy, report.error, now_ms)
            if failed and self._streak.failures >= threshold:
                self._trip("failure_threshold", policy, now_ms)
                break
        return Verdict.RECORDED

    def _settle(self, report: Settle, policy: Policy, now_ms: int) -> Verdict:
        if self._leases.get(report.token, 0) <= now_ms:
            return Verdict.STALE
        del self._leases[report.token]
        if not self._course.is_half_open or report.generation != self._course.generation:
            return Verdict.STALE
        if report.outcome is Outcome.NEUTRAL:
            return Verdict.SETTLED
        self._count(report.outcome, 1, policy, report.error, now_ms)
        if report.outcome is Outcome.FAILURE:
            self._streak.add(1, now_ms)
            self._trip("probe_failed", policy, now_ms)
            return Verdict.SETTLED
        self._successes += 1
        if self._successes >= policy.success_threshold:
            self._close("success_threshold", now_ms)
        return Verdict.SETTLED

    def _extend(self, report: Extend, policy: Policy, now_ms: int) -> tuple[Verdict, int]:
        if self._leases.get(report.token, 0) <= now_ms:
            return Verdict.LOST, 0
        self._leases[report.token] = now_ms + policy.lease_ms
        return Verdict.HELD, self._leases[report.token]

    def _promote(self, now_ms: int) -> Verdict:
        if not self._course.is_open or now_ms < self._until_ms:
            return Verdict.UNCHANGED
        self._course.move(CircuitState.HALF_OPEN, "timeout_elapsed", now_ms)
        self._begin_half_open(now_ms)
        return Verdict.PROMOTED

    def _begin_half_open(self, now_ms: int) -> None:
        self._half_open_ms = now_ms
        self._successes = 0

    def _restore(self, known: Restore, now_ms: int) -> Verdict:
        if known.generation <= self._course.generation:
            return Verdict.UNCHANGED
        is_other_life = known.epoch != self._epoch
        if is_other_life and (not self._course.is_closed or known.state is CircuitState.CLOSED):
            return Verdict.UNCHANGED
        self._epoch = known.epoch
        # The same state again: it is entered under its own number.
        self._course.generation = known.generation - 1
        self._streak.adopt(known.failures)
        self._counts.error = known.error
        if known.state is CircuitState.CLOSED:
            self._close("restored", now_ms)
            return Verdict.RESTORED
        if known.state is CircuitState.OPEN:
            self._until_ms = now_ms + known.remaining_ms
            self._opened_ms = now_ms
        else:
            self._begin_half_open(now_ms)
        self._course.move(known.state, "restored", now_ms)
        return Verdict.RESTORED

    def _reset(self, now_ms: int) -> Verdict:
        self._counts.window = SlidingWindow()
        if self._course.is_closed:
            # Calls that still run are of the life before.
            self._epoch += "+"
        else:
            self._close("reset", now_ms)
        self._streak.end()
        return Verdict.RESET

    def _clear(self) -> Verdict:
        self._counts = Counts()
        self._course.transitions = 0
        if self._course.is_closed:
            self._streak.end()
        return Verdict.CLEARED

    def _count_rejections(self, report: CountRejections) -> Verdict:
        if report.epoch != self._epoch:
            return Verdict.STALE
        self._counts.rejections += report.count
        return Verdict.COUNTED

    def _count(self, outcome: Outcome, count: int, policy: Policy, error: str, now_ms: int) -> None:
        self._counts.add(outcome, count, policy.sliding_window_size, error, now_ms)

    def _trip(self, reason: str, policy: Policy, now_ms: int) -> None:
        until_ms = now_ms + policy.timeout_ms
        if self._course.is_half_open:
            until_ms = max(until_ms, self._half_open_ms + policy.reset_timeout_ms)
        # The deadline before the state: an interrupt must not leave one open without it.
        self._until_ms = until_ms
        self._opened_ms = now_ms
        self._course.move(CircuitState.OPEN, reason, now_ms)

    def _close(self, reason: str, now_ms: int) -> None:
        self._course.move(CircuitState.CLOSED, reason, now_ms)
        self._streak.end()
        self._successes = self._opened_ms = 0

    def _view(self, verdict: Verdict, now_ms: int, until_ms: int) -> CircuitView:
        return CircuitView(
            verdict=verdict,
            state=self._course.state,
            generation=self._course.generation,
            epoch=self._epoch,
            now_ms=now_ms,
            until_ms=until_ms,
            failures=self._streak.failures,
            last_error=self._counts.error,
            last_failure_ms=self._counts.failed_ms,
            moved_from=self._course.moved_from,
            renewed=False,
        )
