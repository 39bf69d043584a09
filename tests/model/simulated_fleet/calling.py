"""The steps of ``run_call`` and ``Guard``, with other threads and the network in between."""

from __future__ import annotations

import random
from itertools import count
from typing import TYPE_CHECKING

from bb5_breaker._core.commands import Outcome
from bb5_breaker._core.flows import Permit, admit_call, settle_call
from bb5_breaker._core.seen import Seen
from bb5_breaker._core.tally import EXPIRED, Tally

from .calls import Call, Fate, Violation
from .threads import Thread

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Caller"]


class Caller:
    """Runs calls of one process, each in a thread of its own as far as anybody can tell."""

    def __init__(self, process: Process, rng: random.Random) -> None:
        self.calls: list[Call] = []
        # Attempts that the store admitted.
        self.admitted = 0
        self._is_stopped = False
        self._process = process
        self._rng = rng
        self._tokens = count()

    def call_on_and_on(self, pause: float) -> Thread:
        """Call, rest and call again."""
        while True:
            yield self._rng.expovariate(1.0) * pause
            if self._is_stopped:
                return
            yield from self.run_call()

    def stop(self) -> None:
        """Call no more by itself."""
        self._is_stopped = True

    def run_call(self) -> Thread:
        """Run one call, if it is let through."""
        process = self._process
        leave: Tally | Permit | None = process.tally
        if process.clock() >= process.tally.lease.until:
            leave = yield from self._admit()
            if leave is None:
                return
        else:
            process.witness.check_let_through(process.tally)
        assert leave is not None
        call = self._begin(leave)
        yield self._rng.random() ** 2 * process.weather.longest_call
        call.ended_at = process.timeline.now
        call.outcome = self._draw_outcome()
        process.timeline.say(call, "ends:", call.outcome.value)
        if call.outcome is Outcome.SUCCESS and type(leave) is Tally:
            yield from self._succeed(leave, call)
        else:
            yield from self._settle(leave, call)

    def _admit(self) -> Thread:
        known = yield from self._decide()
        if known is None:
            return (yield from self._ask())
        return known if type(known) is Tally else None

    def _decide(self) -> Thread:
        process, view = self._process, self._process.view
        now = process.clock()
        known = view.decide(now)
        if type(known) is Tally:
            process.witness.check_let_through(known)
            if process.weather.is_switched():
                yield process.weather.switched_for()
            process.tally = known
            if known.lease is EXPIRED:
                process.board.arm(view)
        elif isinstance(known, Seen):
            process.timeline.say(process.name, "rejects by what it knows")
            process.witness.check_rejected(known)
            view.rejected += 1
            if view.rejected >= view.rejected_mark:
                process.flusher.attend(view)
        return known

    def _ask(self) -> Thread:
        process = self._process
        token = f"{process.name}.{next(self._tokens)}"
        flow = admit_call(process.circuit, token, process)
        permit = (yield from process.link.drive(flow, [])).permit
        process.link.listen()
        if permit is None:
            return None
        if process.link.is_well:
            self.admitted += 1
        if permit.token is not None:
            return permit
        if process.weather.is_switched():
            yield process.weather.switched_for()
        known = yield from self._decide()
        return known if type(known) is Tally else permit

    def _begin(self, leave: Tally | Permit) -> Call:
        process = self._process
        call = Call(len(self.calls), process.number, leave.generation, leave.epoch, leave.token)
        self.calls.append(call)
        process.timeline.say(call, "begins")
        if isinstance(leave, Permit) and leave.token is not None:
            observer = process.network.store.observer
            is_own = leave.epoch.startswith("private@")
            if not is_own and leave.token not in observer.leased:
                raise Violation("a: places", f"{call} runs without ever having had a lease")
            process.resume(process.link.keep(leave, call))
        return call

    def _draw_outcome(self) -> Outcome:
        weather = self._process.weather
        if self._rng.random() < weather.failing:
            return Outcome.FAILURE
        return Outcome.NEUTRAL if self._rng.random() < 0.05 else Outcome.SUCCESS

    def _succeed(self, leave: Tally, call: Call) -> Thread:
        process = self._process
        process.count_success(leave, call)
        if leave.retired:
            process.witness.check_dropped(call)
        if process.weather.is_switched():
            yield process.weather.switched_for()
        if leave.count >= leave.mark:
            process.flusher.attend(process.view)

    def _settle(self, leave: Tally | Permit, call: Call) -> Thread:
        process, outcome = self._process, call.outcome
        assert outcome is not None
        pending, calls = None, []
        if outcome is Outcome.NEUTRAL and leave.token is None:
            call.meet(Fate.NEUTRAL)
            return
        if type(leave) is Tally:
            if leave.retired:
                process.witness.check_dropped(call)
                call.meet(Fate.STALE)
                return
            if process.weather.is_switched():
                yield process.weather.switched_for()
            pending = process.board.take_from(leave)
            calls = process.collect(pending)
        flow = settle_call(process.circuit, leave, outcome, "Boom", pending)
        yield from process.link.drive(flow, [*calls, call])
