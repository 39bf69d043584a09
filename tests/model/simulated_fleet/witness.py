"""Watches one process: by what it lets calls through, and what it takes for the present."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bb5_breaker._core.replies import CircuitView
from bb5_breaker._core.seen import Seen
from bb5_breaker._core.tally import Tally
from bb5_breaker.state import CircuitState

from .calls import Call, Violation
from .weather import HEARTBEAT

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Witness"]

_ROUNDING = 1e-6
# An open period of which so little is left may be over by another clock.
_SOON_MS = 200


class Witness:
    """Checks a process's view against the true history of the circuit."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._seen: Seen | None = None
        self._observer = process.network.store.observer
        self._longest = 2 * HEARTBEAT / process.clock.rate + 2 * process.clock.grain + _ROUNDING

    def look(self) -> None:
        """Check what the view became, after anything that may have changed it."""
        before, seen = self._seen, self._process.view.seen
        if seen is before:
            return
        self._seen = seen
        assert seen is not None
        self._process.timeline.say(
            self._process.name, "now sees", seen.told.state.value, seen.told.generation,
            seen.told.epoch,
        )  # fmt: skip
        if before is None:
            return
        self._check_order(before, seen)
        tally = before.tally
        if tally is not None and tally is not seen.tally:
            if not tally.retired:
                raise Violation("h: none forgotten", f"{self._process.name} keeps a tally unseen")
            self.check_over(tally.generation, tally.epoch, "its tally was retired")

    def check_let_through(self, tally: Tally) -> None:
        """Check that a call may run on a tally at this moment."""
        process, observer = self._process, self._observer
        observer.happened["let through by the view"] += 1
        age = process.clock() - process.pinged_at
        if age > 2 * HEARTBEAT + _ROUNDING:
            raise Violation(
                "b: fresh", f"{process.name} let a call through {age:.4f} s after its last PING"
            )
        if process.link.trouble.is_on:
            raise Violation("b: fresh", f"{process.name} goes by its view, and has no store")
        self._check_lasts(tally.generation, tally.epoch, CircuitState.CLOSED)

    def check_rejected(self, seen: Seen) -> None:
        """Check that a call may be rejected by what is known at this moment."""
        self._observer.happened["rejected by the view"] += 1
        self._check_lasts(seen.told.generation, seen.told.epoch, CircuitState.OPEN)

    def _check_lasts(self, generation: int, epoch: str, state: CircuitState) -> None:
        """Check that a state is the present one, or ended unheard and not long ago."""
        process, observer = self._process, self._observer
        name = f"{process.name} goes by {generation}:{epoch}"
        if epoch and observer.last_place[generation, epoch] < process.heard:
            raise Violation("b: heard", f"{name}, having heard of a later one")
        left_at = observer.left_at.get((generation, epoch)) if epoch else None
        if left_at is None and observer.state is not state:
            left_at = observer.left_closed_at
        if left_at is not None and process.timeline.now - left_at > self._longest:
            ago = process.timeline.now - left_at
            raise Violation("b: stale", f"{name}, {ago:.4f} s after it had ended")

    def check_learnt(self, told: CircuitView) -> None:
        """Check that a process which was told the end of an open period goes by it."""
        view, now = self._process.view, self._process.clock()
        seen, left_ms = view.seen, told.until_ms - self._process.network.store.now_ms()
        assert seen is not None
        is_open = told.state is CircuitState.OPEN and left_ms > _SOON_MS
        is_believed = now < view.lease.until and seen.told.generation == told.generation
        if is_open and is_believed and not isinstance(view.decide(now), Seen):
            raise Violation(
                "g: fast", f"{self._process.name} keeps asking, having been told {told}"
            )

    def check_over(self, generation: int, epoch: str, why: str) -> None:
        """Check that what is no longer reported would no longer count."""
        observer = self._observer
        # Calls from before the first name are of the first life, if of any.
        is_known = bool(epoch) or not observer.was_renamed
        if is_known and observer.is_present(generation, epoch):
            raise Violation(
                "d: never a lost report",
                f"{self._process.name} drops calls of {generation}:{epoch}, which lasts: {why}",
            )

    def check_dropped(self, call: Call) -> None:
        """Check that a call need not be reported."""
        self.check_over(call.generation, call.epoch, f"{call} is not reported")

    def _check_order(self, before: Seen, seen: Seen) -> None:
        earlier, later = ((each.told.generation, each.told.epoch) for each in (before, seen))
        if self._observer.last_place[later] < self._observer.first_place[earlier]:
            raise Violation("f: never back", f"{self._process.name} went from {before} to {seen}")
