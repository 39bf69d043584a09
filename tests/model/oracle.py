"""The rules of one circuit a second time, written from the documents and not from the code.

Slow and plain on purpose. It keeps every outcome where the scripts keep runs, names lives by
numbers, and knows nothing of keys, wires or expiry. Where it and the code differ, one of them
misread the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bb5_breaker._core.commands import Outcome, Purpose, Run
from bb5_breaker._core.policy import Policy
from bb5_breaker._core.replies import Verdict
from bb5_breaker.state import CircuitState

__all__ = ["Answer", "Figures", "Oracle", "Transition"]

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store should answer.

    ``life`` is 0 while there is no circuit. ``repeated`` says that only the sender's number
    told the command from a new one.
    """

    verdict: Verdict
    state: CircuitState
    generation: int
    life: int
    until_ms: int
    failures: int
    last_error: str
    last_failure_ms: int
    moved_from: CircuitState | None
    repeated: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What a store should show of the circuit."""

    exists: bool
    state: CircuitState
    effective_state: CircuitState
    generation: int
    life: int
    failures: int
    total_successes: int
    total_failures: int
    rejections: int
    transitions: int
    window_calls: int
    window_failures: int
    active_probes: int
    last_failure_ms: int
    last_success_ms: int
    last_error: str
    opened_ms: int
    half_open_ms: int
    changed_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Transition:
    """One event: what the circuit became, from what, why, and with how many failures."""

    previous: CircuitState
    state: CircuitState
    generation: int
    failures: int
    life: int
    reason: str


@dataclass(slots=True)
class _Life:
    """All that is known of a circuit from its first report until it is forgotten."""

    number: int
    state: CircuitState = CLOSED
    generation: int = 0
    # When each failure of the present run of failures was counted.
    run_ms: list[int] = field(default_factory=list)
    # Whether each call failed, oldest first.
    window: list[bool] = field(default_factory=list)
    good_probes: int = 0
    open_until_ms: int = 0
    total_successes: int = 0
    total_failures: int = 0
    rejections: int = 0
    transitions: int = 0
    last_failure_ms: int = 0
    last_success_ms: int = 0
    last_error: str = ""
    opened_ms: int = 0
    half_open_ms: int = 0
    changed_ms: int = 0
    reason: str = ""


class Oracle:
    """One circuit. The clock is a public field that whoever drives it sets."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.events: list[Transition] = []
        # When the lease of each token ends.
        self.places: dict[str, int] = {}
        self._life: _Life | None = None
        self._lives = 0
        self._forgotten_ms = 0
        # The last number that counted, of each sender.
        self._seen: dict[str, int] = {}

    def admit(
        self, policy: Policy, token: str, purpose: Purpose, sender: str, number: int
    ) -> Answer:
        """May a call run? In half-open it needs a place."""
        life = self._life
        if life is None or life.state is CLOSED:
            return self._answer(Verdict.ALLOW)
        self._take_back_overdue()
        if self._is_repeat(sender, number):
            return self._admit_again(token)
        self._note(sender, number)
        moved_from = self._end_open_period()
        if life.state is OPEN or len(self.places) >= policy.half_open_max_calls:
            # A health check without a place is no user's rejected call.
            life.rejections += purpose is Purpose.CALL
            return self._answer(Verdict.REJECT, self._next_chance(), moved_from)
        self.places[token] = self.now_ms + policy.lease_ms
        return self._answer(Verdict.PROBE, self.places[token], moved_from)

    def record(
        self,
        policy: Policy,
        generation: int,
        life_number: int,
        runs: tuple[Run, ...],
        error: str,
        age_ms: int,
        sender: str,
        number: int,
    ) -> Answer:
        """Count calls that were admitted while closed, one by one."""
        life = self._life
        if life is not None and (
            life.state is not CLOSED
            or generation != life.generation
            # Who was admitted before the circuit was stored knows no life.
            or life_number not in (0, life.number)
        ):
            return self._answer(Verdict.STALE)
        if self._is_repeat(sender, number):
            return self._answer(Verdict.REPEAT, repeated=True)
        self._note(sender, number)
        if life is None:
            # A store that lost its memory counts on from what the reporter knows.
            life = self._begin(generation)
        late = bool(life.run_ms) and self.now_ms - age_ms < life.run_ms[0] <= self.now_ms
        for place, run in enumerate(runs):
            for _ in range(run.count):
                if run.outcome is Outcome.FAILURE:
                    self._count_failure(policy, error)
                    if len(life.run_ms) >= policy.failure_threshold:
                        self._open(policy, "failure_threshold")
                        return self._answer(Verdict.RECORDED, moved_from=CLOSED)
                else:
                    self._count_success(policy)
                    # One that ended before the run of failures began says nothing against it,
                    # however late it is told. Where a clock was set back ages tell nothing.
                    if place > 0 or not late:
                        life.run_ms.clear()
        return self._answer(Verdict.RECORDED)

    def settle(
        self,
        policy: Policy,
        generation: int,
        token: str,
        outcome: Outcome,
        error: str,
    ) -> Answer:
        """A probe's call has ended."""
        life = self._life
        if not self._is_held(token):
            return self._answer(Verdict.STALE)
        del self.places[token]
        if life is None or life.state is not HALF_OPEN or generation != life.generation:
            return self._answer(Verdict.STALE)
        if outcome is Outcome.NEUTRAL:
            return self._answer(Verdict.SETTLED)
        if outcome is Outcome.FAILURE:
            self._count_failure(policy, error)
            self._open(policy, "probe_failed")
            return self._answer(Verdict.SETTLED, moved_from=HALF_OPEN)
        # The failures that opened the circuit are told until it closes.
        self._count_success(policy)
        life.good_probes += 1
        if life.good_probes < policy.success_threshold:
            return self._answer(Verdict.SETTLED)
        self._close("success_threshold")
        return self._answer(Verdict.SETTLED, moved_from=HALF_OPEN)

    def extend(self, policy: Policy, token: str) -> Answer:
        """A probe's call still runs, whatever became of the circuit meanwhile."""
        if not self._is_held(token):
            return self._answer(Verdict.LOST)
        self.places[token] = self.now_ms + policy.lease_ms
        return self._answer(Verdict.HELD, self.places[token])

    def promote(self) -> Answer:
        """End the open period if it is over."""
        moved_from = self._end_open_period()
        verdict = Verdict.PROMOTED if moved_from else Verdict.UNCHANGED
        return self._answer(verdict, moved_from=moved_from)

    def reset(self, sender: str, number: int) -> Answer:
        """Close by hand; results of what runs are of the past, but probes keep their places."""
        life = self._life
        if life is None:
            return self._answer(Verdict.UNCHANGED)
        if self._is_repeat(sender, number):
            return self._answer(Verdict.REPEAT, repeated=True)
        self._note(sender, number)
        previous = life.state
        life.window.clear()
        if previous is CLOSED:
            life.run_ms.clear()
            self._lives += 1
            life.number = self._lives
            return self._answer(Verdict.RESET)
        self._close("reset")
        return self._answer(Verdict.RESET, moved_from=previous)

    def clear(self, sender: str, number: int) -> Answer:
        """Forget what the statistics count; the state and what led to it stay."""
        life = self._life
        if life is None:
            return self._answer(Verdict.UNCHANGED)
        if self._is_repeat(sender, number):
            return self._answer(Verdict.REPEAT, repeated=True)
        self._note(sender, number)
        life.total_successes = life.total_failures = life.rejections = life.transitions = 0
        life.last_failure_ms = life.last_success_ms = 0
        life.last_error = ""
        life.window.clear()
        if life.state is CLOSED:
            life.run_ms.clear()
        return self._answer(Verdict.CLEARED)

    def count_rejections(self, life_number: int, count: int, sender: str, number: int) -> Answer:
        """Count calls that a process rejected by its own view of this life."""
        life = self._life
        if life is None or life_number != life.number:
            return self._answer(Verdict.STALE, self._open_until())
        if self._is_repeat(sender, number):
            return self._answer(Verdict.REPEAT, self._open_until(), repeated=True)
        self._note(sender, number)
        life.rejections += count
        return self._answer(Verdict.COUNTED, self._open_until())

    def look(self) -> Answer:
        """Show the circuit as it is."""
        return self._answer(Verdict.SEEN, self._open_until())

    def forget(self) -> Answer:
        """Delete the circuit; what its senders reported is still known."""
        existed = self._life is not None or bool(self.places)
        if existed:
            self._forgotten_ms = self.now_ms
        self._life = None
        self.places.clear()
        self.events.clear()
        return self._answer(Verdict.FORGOTTEN if existed else Verdict.UNCHANGED)

    def restore(
        self,
        life_number: int,
        generation: int,
        state: CircuitState,
        remaining_ms: int,
        known_ms: int,
        failures: int,
        error: str,
    ) -> Answer:
        """A process gives back what it knows, should the store have lost it."""
        if not self._lacks(life_number, generation, state, known_ms):
            return self._answer(Verdict.UNCHANGED, self._open_until())
        life = self._life = self._life or _Life(life_number)
        moved_from = life.state
        life.number, life.generation = life_number, generation - 1
        life.run_ms = [] if state is CLOSED else [self.now_ms] * failures
        life.last_error = error
        life.good_probes = 0
        if state is OPEN:
            life.open_until_ms, life.opened_ms = self.now_ms + remaining_ms, self.now_ms
        elif state is HALF_OPEN:
            life.half_open_ms = self.now_ms
        else:
            life.opened_ms = 0
        self._move(state, "restored")
        return self._answer(Verdict.RESTORED, self._open_until(), moved_from)

    def figures(self) -> Figures:
        """Show everything."""
        life = self._life or _Life(0)
        over = life.state is OPEN and self.now_ms >= life.open_until_ms
        return Figures(
            exists=self._life is not None,
            state=life.state,
            effective_state=HALF_OPEN if over else life.state,
            generation=life.generation,
            life=life.number,
            failures=len(life.run_ms),
            total_successes=life.total_successes,
            total_failures=life.total_failures,
            rejections=life.rejections,
            transitions=life.transitions,
            window_calls=len(life.window),
            window_failures=life.window.count(True),
            active_probes=sum(end_ms > self.now_ms for end_ms in self.places.values()),
            last_failure_ms=life.last_failure_ms,
            last_success_ms=life.last_success_ms,
            last_error=life.last_error,
            opened_ms=life.opened_ms,
            half_open_ms=life.half_open_ms,
            changed_ms=life.changed_ms,
            reason=life.reason,
        )

    def edges_ms(self) -> list[int]:
        """Return when something ends: the open period, the leases."""
        life = self._life
        ends = [life.open_until_ms] if life and life.state is OPEN else []
        return ends + list(self.places.values())

    def has_overdue(self) -> bool:
        """Whether a lease is over and not taken back."""
        return any(end_ms <= self.now_ms for end_ms in self.places.values())

    def _lacks(self, life_number: int, generation: int, state: CircuitState, known_ms: int) -> bool:
        """Whether the store does not know of a state that came after its own."""
        life = self._life or _Life(0, generation=-1)
        if generation <= life.generation:
            return False
        # What was forgotten on purpose was known longer ago than that.
        if self._forgotten_ms and self.now_ms - known_ms <= self._forgotten_ms:
            return False
        # Another life has only its troubles to tell, and only to one that has none.
        return life_number == life.number or (life.state is CLOSED and state is not CLOSED)

    def _begin(self, generation: int) -> _Life:
        self._lives += 1
        self._life = _Life(self._lives, generation=generation)
        return self._life

    def _admit_again(self, token: str) -> Answer:
        if self._is_held(token):
            return self._answer(Verdict.PROBE, self.places[token], repeated=True)
        return self._answer(Verdict.REJECT, self._next_chance(), repeated=True)

    def _next_chance(self) -> int:
        """When a rejected call may ask again."""
        return self._open_until() or min(self.places.values(), default=self.now_ms)

    def _is_held(self, token: str) -> bool:
        """Whether a token's lease still holds, taken back or not."""
        return self.places.get(token, self.now_ms) > self.now_ms

    def _present(self) -> _Life:
        assert self._life is not None
        return self._life

    def _is_repeat(self, sender: str, number: int) -> bool:
        return number <= self._seen.get(sender, 0)

    def _note(self, sender: str, number: int) -> None:
        self._seen[sender] = number

    def _count_failure(self, policy: Policy, error: str) -> None:
        life = self._present()
        life.total_failures += 1
        life.run_ms.append(self.now_ms)
        life.last_failure_ms = self.now_ms
        life.last_error = error
        self._push(policy, failed=True)

    def _count_success(self, policy: Policy) -> None:
        life = self._present()
        life.total_successes += 1
        life.last_success_ms = self.now_ms
        self._push(policy, failed=False)

    def _push(self, policy: Policy, *, failed: bool) -> None:
        life = self._present()
        life.window.append(failed)
        del life.window[: -policy.sliding_window_size]

    def _take_back_overdue(self) -> None:
        for token, end_ms in list(self.places.items()):
            if end_ms <= self.now_ms:
                del self.places[token]

    def _end_open_period(self) -> CircuitState | None:
        life = self._life
        if life is None or life.state is not OPEN or self.now_ms < life.open_until_ms:
            return None
        life.half_open_ms = self.now_ms
        life.good_probes = 0
        self._move(HALF_OPEN, "timeout_elapsed")
        return OPEN

    def _open(self, policy: Policy, reason: str) -> None:
        life = self._present()
        until_ms = self.now_ms + policy.timeout_ms
        if life.state is HALF_OPEN:
            # Only the entries after the first one of a trip have to keep apart.
            until_ms = max(until_ms, life.half_open_ms + policy.reset_timeout_ms)
        life.open_until_ms = until_ms
        life.opened_ms = self.now_ms
        self._move(OPEN, reason)

    def _close(self, reason: str) -> None:
        life = self._present()
        life.run_ms.clear()
        life.opened_ms = 0
        self._move(CLOSED, reason)

    def _move(self, state: CircuitState, reason: str) -> None:
        life = self._present()
        previous, life.state = life.state, state
        life.generation += 1
        life.transitions += 1
        life.changed_ms = self.now_ms
        life.reason = reason
        failures = len(life.run_ms)
        self.events.append(
            Transition(previous, state, life.generation, failures, life.number, reason)
        )

    def _open_until(self) -> int:
        return self._life.open_until_ms if self._life and self._life.state is OPEN else 0

    def _answer(
        self,
        verdict: Verdict,
        until_ms: int = 0,
        moved_from: CircuitState | None = None,
        *,
        repeated: bool = False,
    ) -> Answer:
        life = self._life or _Life(0)
        return Answer(
            verdict=verdict,
            state=life.state,
            generation=life.generation,
            life=life.number,
            until_ms=until_ms,
            failures=len(life.run_ms),
            last_error=life.last_error,
            last_failure_ms=life.last_failure_ms,
            moved_from=moved_from,
            repeated=repeated,
        )
