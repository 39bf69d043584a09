"""Watches the store: what each request may change, and what it must."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from bb5_breaker._core.commands import Admit, Extend, Outcome, Record, Settle
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Verdict
from bb5_breaker.state import CircuitState

from .calls import Fate, Violation
from .streaks import StreakWatch
from .timeline import Timeline

if TYPE_CHECKING:
    from .network import Request

__all__ = ["Observer"]

# All that lasts; leases end by themselves.
_lasting: Final = attrgetter(
    "state", "generation", "epoch", "failures", "total_successes", "total_failures",
    "rejections", "transitions", "window_calls", "window_failures", "last_failure_ms",
    "last_success_ms", "last_error", "opened_ms", "open_until_ms", "half_open_ms", "changed_ms",
)  # fmt: skip


class Observer:
    """Knows the true history of the circuit, and checks each step of the store against it."""

    def __init__(self, timeline: Timeline, circuit: Circuit) -> None:
        self.state = CircuitState.CLOSED
        self.generation = 0
        self.epoch = ""
        self.leases: dict[str, int] = {}
        # All tokens that ever had a lease.
        self.leased: set[str] = set()
        # The circuit has had more than one life.
        self.was_renamed = False
        self.published = self.transitions = 0
        # Of lives that are over.
        self.successes = self.failures = 0
        # How often each answer was given, and whatever else is noted.
        self.happened: Counter[str] = Counter()
        self.left_closed_at = float("-inf")
        # The place of each state in the order of all, for the first and for the last time:
        # only of a circuit that is not stored there may be several.
        self.first_place: dict[tuple[int, str], int] = {(0, ""): 0}
        self.last_place: dict[tuple[int, str], int] = {(0, ""): 0}
        self.left_at: dict[tuple[int, str], float] = {}
        # How many states there were before this one.
        self.states = 0
        self._timeline = timeline
        self._policy = circuit.policy
        self._streaks = StreakWatch(timeline, circuit.policy.failure_threshold)

    def is_present(self, generation: int, epoch: str) -> bool:
        """Tell whether a call that was admitted in this closed state counts now.

        One that was admitted before the circuit had a name counts in any life of its number.
        """
        return (
            self.state is CircuitState.CLOSED
            and generation == self.generation
            and epoch in ("", self.epoch)
        )

    def expects(self, request: Request, now_ms: int) -> bool | None:
        """Tell whether a report has to count or must not; None for what is no report."""
        command = request.command
        if type(command) is Record:
            named = [call for call in request.calls if call.epoch]
            if not named:
                return self.is_present(command.generation, command.epoch)
            present = [self.is_present(call.generation, call.epoch) for call in named]
            if any(present) != all(present):
                raise Violation("c: reports are of one state", str(named))
            return present[0]
        if type(command) is Settle:
            return (
                self.leases.get(command.token, 0) > now_ms
                and self.state is CircuitState.HALF_OPEN
                and request.calls[0].generation == self.generation
            )
        return None

    def check(
        self,
        request: Request,
        told: CircuitView,
        expected: bool | None,
        before: CircuitSnapshot | None,
        after: CircuitSnapshot,
    ) -> None:
        """Check a step of the store, and take note of it."""
        self._check_transition(told)
        self.happened[told.verdict.value] += 1
        command = request.command
        if type(command) in (Record, Settle) or told.verdict is Verdict.REPEAT:
            if expected:
                self._check_counted(request, told)
            else:
                assert before is not None
                self._check_unchanged(request, told, before, after)
        if type(command) is Record and told.verdict is Verdict.RECORDED:
            self._streaks.check_report(request, told)
        if told.verdict is Verdict.RESET and self.is_present(told.generation, told.epoch):
            raise Violation("i: a new life", f"calls from before a reset still count: {told}")
        self._follow_leases(request, told, after)
        self._streaks.note(told.failures)
        self.note_state(told)

    def note_state(self, told: CircuitView) -> None:
        """Take note of the present state."""
        was, key = (self.generation, self.epoch), (told.generation, told.epoch)
        if key == was and told.state is self.state:
            return
        now = self._timeline.now
        self.was_renamed |= self.epoch not in ("", told.epoch)
        self.left_at[was] = now
        self.left_at.pop(key, None)
        self.states += 1
        self.last_place[key] = self.states
        self.first_place.setdefault(key, self.states)
        if self.state is CircuitState.CLOSED and told.state is not self.state:
            self.left_closed_at = now
        self.state, self.generation, self.epoch = told.state, told.generation, told.epoch

    def note_end(self, last: CircuitSnapshot) -> None:
        """The circuit is about to be forgotten."""
        self.successes += last.total_successes
        self.failures += last.total_failures
        self.leases.clear()
        self._streaks.note(0)

    def _check_transition(self, told: CircuitView) -> None:
        moved = told.moved_from is not None
        if told.generation != self.generation + moved or (told.state is not self.state) != moved:
            raise Violation(
                "e: generations", f"{self.state} {self.generation} was followed by {told}"
            )
        if moved:
            self.transitions += 1
            self.happened[told.state.value] += 1

    def _check_counted(self, request: Request, told: CircuitView) -> None:
        if told.verdict not in (Verdict.RECORDED, Verdict.SETTLED):
            raise Violation("d: never a lost report", f"{request} was told {told}")
        for call in request.calls:
            call.meet(Fate.NEUTRAL if call.outcome is Outcome.NEUTRAL else Fate.COUNTED)

    def _check_unchanged(
        self, request: Request, told: CircuitView, before: CircuitSnapshot, after: CircuitSnapshot
    ) -> None:
        if _lasting(before) != _lasting(after):
            raise Violation(
                "c: what is late changes nothing", f"{request}: {before} became {after}"
            )
        if told.verdict is Verdict.STALE:
            for call in request.calls:
                call.meet(Fate.STALE)

    def _follow_leases(self, request: Request, told: CircuitView, after: CircuitSnapshot) -> None:
        command, leases = request.command, self.leases
        if type(command) is Settle:
            leases.pop(command.token, None)
        elif type(command) is Extend and told.verdict is Verdict.HELD:
            leases[command.token] = told.now_ms + self._policy.lease_ms
        elif type(command) is Admit and told.verdict is Verdict.PROBE:
            leases[command.token] = told.until_ms
            self.leased.add(command.token)
            living = sum(end > told.now_ms for end in leases.values())
            most = self._policy.half_open_max_calls
            if living > most or after.active_probes > most or living != after.active_probes:
                raise Violation("a: places", f"{living} leases of {most}: {leases}, {after}")
