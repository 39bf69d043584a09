"""The rules of a circuit in one process: what the scripts do, without a store.

It serves a process that shares its circuits with nobody, by choice or because the store does
not answer. Time comes in as an argument. Not thread-safe: its holder takes care of that.
"""

from __future__ import annotations

from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    Extend,
    Outcome,
    Promote,
    Record,
    Reset,
    Settle,
)
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
        "_epoch",
        "_error",
        "_failed_ms",
        "_failures",
        "_generation",
        "_half_open_ms",
        "_leases",
        "_moved_from",
        "_moved_ms",
        "_opened_ms",
        "_owner",
        "_reason",
        "_rejections",
        "_state",
        "_succeeded_ms",
        "_successes",
        "_total_failures",
        "_total_successes",
        "_transitions",
        "_until_ms",
        "_window",
    )

    def __init__(self, epoch: str, owner: str) -> None:
        self._epoch = epoch
        self._owner = owner
        self._state = CircuitState.CLOSED
        self._generation = self._failures = self._successes = self._transitions = 0
        self._until_ms = self._opened_ms = self._half_open_ms = self._moved_ms = 0
        self._leases: dict[str, int] = {}
        self._moved_from: CircuitState | None = None
        self._reason = ""
        self._clear()

    def apply(self, command: Command, now_ms: int) -> CircuitView:
        """Carry out a command other than Snapshot and Forget at a time in ms."""
        self._moved_from = None
        policy = command.circuit.policy
        match command:
            case Admit():
                verdict, until_ms = self._admit(command.token, policy, now_ms)
                return self._view(verdict, now_ms, until_ms)
            case Record():
                verdict = self._record(command, policy, now_ms)
            case Settle():
                verdict = self._settle(command, policy, now_ms)
            case Extend():
                verdict = self._extend(command, policy, now_ms)
            case Promote():
                verdict = self._promote(now_ms)
            case Reset():
                verdict = self._reset(now_ms)
            case Clear():
                verdict = self._clear()
            case _:
                raise TypeError(f"no rule for {type(command).__name__}")
        return self._view(verdict, now_ms, self._until_ms if self._is_open else 0)

    def adopt_open(self, until_ms: int, failures: int, error: str, now_ms: int) -> None:
        """Go on from an open circuit as a store that no longer answers described it."""
        self._failures = failures
        self._error = error
        self._until_ms = until_ms
        self._opened_ms = now_ms
        self._move(CircuitState.OPEN, "store_unavailable", now_ms)

    def mend(self) -> None:
        """Make a circuit whole again whose change was interrupted."""
        self._window.count_again()

    def snapshot(self, now_ms: int) -> CircuitSnapshot:
        """Return all that is known of the circuit."""
        return CircuitSnapshot(
            exists=True,
            now_ms=now_ms,
            state=self._state,
            generation=self._generation,
            epoch=self._epoch,
            failures=self._failures,
            total_successes=self._total_successes,
            total_failures=self._total_failures,
            rejections=self._rejections,
            transitions=self._transitions,
            window_calls=self._window.calls,
            window_failures=self._window.failures,
            active_probes=sum(end > now_ms for end in self._leases.values()),
            last_failure_ms=self._failed_ms,
            last_success_ms=self._succeeded_ms,
            last_error=self._error,
            opened_ms=self._opened_ms,
            open_until_ms=self._until_ms if self._opened_ms else 0,
            half_open_ms=self._half_open_ms,
            changed_ms=self._moved_ms,
            changed_by=self._owner if self._reason else "",
            reason=self._reason,
        )

    @property
    def _is_open(self) -> bool:
        return self._state is CircuitState.OPEN

    def _admit(self, token: str, policy: Policy, now_ms: int) -> tuple[Verdict, int]:
        self._promote(now_ms)
        if self._state is CircuitState.CLOSED:
            return Verdict.ALLOW, 0
        if self._is_open:
            self._rejections += 1
            return Verdict.REJECT, self._until_ms
        self._leases = {name: end for name, end in self._leases.items() if end > now_ms}
        if len(self._leases) >= policy.half_open_max_calls:
            self._rejections += 1
            return Verdict.REJECT, min(self._leases.values())
        self._leases[token] = now_ms + policy.lease_ms
        return Verdict.PROBE, self._leases[token]

    def _record(self, report: Record, policy: Policy, now_ms: int) -> Verdict:
        known = report.epoch in ("", self._epoch) and report.generation == self._generation
        if self._state is not CircuitState.CLOSED or not known:
            return Verdict.STALE
        for run in report.runs:
            count = run.count
            if run.outcome is Outcome.FAILURE:
                count = min(count, max(1, policy.failure_threshold - self._failures))
                self._failures += count
            else:
                self._failures = 0
            self._count(run.outcome, count, policy, report.error, now_ms)
            if self._failures >= policy.failure_threshold:
                self._trip("failure_threshold", policy, now_ms)
                break
        return Verdict.RECORDED

    def _settle(self, report: Settle, policy: Policy, now_ms: int) -> Verdict:
        if self._leases.get(report.token, 0) <= now_ms:
            return Verdict.STALE
        del self._leases[report.token]
        if not self._is_present(report.generation):
            return Verdict.STALE
        if report.outcome is Outcome.NEUTRAL:
            return Verdict.SETTLED
        self._count(report.outcome, 1, policy, report.error, now_ms)
        if report.outcome is Outcome.FAILURE:
            self._failures += 1
            self._trip("probe_failed", policy, now_ms)
            return Verdict.SETTLED
        self._successes += 1
        if self._successes >= policy.success_threshold:
            self._close("success_threshold", now_ms)
        return Verdict.SETTLED

    def _extend(self, report: Extend, policy: Policy, now_ms: int) -> Verdict:
        if self._leases.get(report.token, 0) <= now_ms:
            return Verdict.LOST
        self._leases[report.token] = now_ms + policy.lease_ms
        return Verdict.HELD

    def _promote(self, now_ms: int) -> Verdict:
        if not self._is_open or now_ms < self._until_ms:
            return Verdict.UNCHANGED
        self._move(CircuitState.HALF_OPEN, "timeout_elapsed", now_ms)
        self._half_open_ms = now_ms
        self._successes = 0
        return Verdict.PROMOTED

    def _reset(self, now_ms: int) -> Verdict:
        self._window = SlidingWindow()
        if self._state is CircuitState.CLOSED:
            # Calls that still run are of the life before.
            self._epoch += "+"
        else:
            self._close("reset", now_ms)
        self._failures = 0
        return Verdict.RESET

    def _clear(self) -> Verdict:
        self._window = SlidingWindow()
        self._total_successes = self._total_failures = self._rejections = self._transitions = 0
        self._failed_ms = self._succeeded_ms = 0
        self._error = ""
        if self._state is CircuitState.CLOSED:
            self._failures = 0
        return Verdict.CLEARED

    def _is_present(self, generation: int) -> bool:
        return self._state is CircuitState.HALF_OPEN and generation == self._generation

    def _count(self, outcome: Outcome, count: int, policy: Policy, error: str, now_ms: int) -> None:
        self._window.add(outcome, count, policy.sliding_window_size)
        if outcome is Outcome.FAILURE:
            self._total_failures += count
            self._failed_ms = now_ms
            self._error = error
        else:
            self._total_successes += count
            self._succeeded_ms = now_ms

    def _trip(self, reason: str, policy: Policy, now_ms: int) -> None:
        until_ms = now_ms + policy.timeout_ms
        if self._state is CircuitState.HALF_OPEN:
            until_ms = max(until_ms, self._half_open_ms + policy.reset_timeout_ms)
        # The deadline before the state: an interrupt must not leave one open without it.
        self._until_ms = until_ms
        self._opened_ms = now_ms
        self._move(CircuitState.OPEN, reason, now_ms)

    def _close(self, reason: str, now_ms: int) -> None:
        self._move(CircuitState.CLOSED, reason, now_ms)
        self._failures = self._successes = self._opened_ms = 0

    def _move(self, state: CircuitState, reason: str, now_ms: int) -> None:
        self._moved_from = self._state
        self._state = state
        self._generation += 1
        self._transitions += 1
        self._moved_ms = now_ms
        self._reason = reason

    def _view(self, verdict: Verdict, now_ms: int, until_ms: int) -> CircuitView:
        return CircuitView(
            verdict=verdict,
            state=self._state,
            generation=self._generation,
            epoch=self._epoch,
            now_ms=now_ms,
            until_ms=until_ms,
            failures=self._failures,
            last_error=self._error,
            last_failure_ms=self._failed_ms,
            moved_from=self._moved_from,
            renewed=False,
        )
