"""The steps of ``Link`` and of the leases' keeper, with a network that takes time."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bb5_breaker._core.commands import Command, Extend, Record, Settle, Snapshot
from bb5_breaker._core.flows import Permit
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Verdict
from bb5_breaker._store.private_store import PrivateStore

from .calls import Call, Fate
from .threads import Thread

if TYPE_CHECKING:
    from .process import Process

__all__ = ["RETRY", "Link"]

RETRY = 0.5


class Trouble:
    """Whether the store answers, as far as is known."""

    is_on = False

    def of(self, service: str) -> object:
        """Return what is amiss; None for nothing."""
        return "the store does not answer" if self.is_on else None


class Link:
    """The way to the store, and what stands in for it while it does not answer."""

    def __init__(self, process: Process, rng: random.Random) -> None:
        self._process = process
        self._rng = rng
        self._own: PrivateStore | None = None
        self._next_attempt = 0.0
        self.trouble = process.board.trouble = Trouble()

    def drive(self, flow: Generator[Command, CircuitView, Any], calls: list[Call]) -> Thread:
        """Run a flow of the core; return what it comes to."""
        try:
            command = next(flow)
            while True:
                command = flow.send((yield from self.run(command, calls)))
        except StopIteration as stop:
            return stop.value

    def run(self, command: Command, calls: list[Call]) -> Thread:
        """Carry out a command at the store or, failing that, here; return its reply."""
        process = self._process
        if self.owns(command):
            return self._run_own(command, calls)
        if not self.is_well and not self._claim_attempt():
            return self._run_here(command, calls)
        asked_at = process.clock()
        reply = yield from process.ask(command, calls)
        if reply is None:
            process.timeline.say(process.name, "had no answer to its", type(command).__name__)
            self._note_failure()
            return self._run_here(command, calls)
        if self.trouble.is_on:
            self._own = None
            self.trouble.is_on = False
        if process.board.remembered.exceeds("svc", reply, asked_at):
            process.board.doubted("svc")
        process.board.learn("svc", reply, asked_at)
        process.witness.check_learnt(reply)
        return reply

    def order(self, command: Command) -> Thread:
        """Carry out a user's order."""
        asked_at = self._process.clock()
        reply = yield from self._process.ask(command, [])
        if reply is not None:
            self._process.board.learn("svc", reply, asked_at)

    def keep(self, permit: Permit, call: Call) -> Thread:
        """Renew the lease of a probe while its call runs."""
        assert permit.token is not None
        command = Extend(self._process.circuit, permit.epoch, permit.token)
        reply: CircuitView | None
        while True:
            yield self._process.circuit.policy.lease_ms / 3000
            if call.outcome is not None:
                return
            if self.owns(command):
                reply = self._run_own(command, [])
            else:
                reply = yield from self._process.ask(command, [])
            if reply is not None and reply.verdict is Verdict.LOST:
                return

    def owns(self, command: Command) -> bool:
        """Tell whether a call was admitted here, and is settled here."""
        if self._own is None or not isinstance(command, Record | Settle | Extend):
            return False
        return command.epoch.startswith(self._own.epoch)

    def _run_here(self, command: Command, calls: list[Call]) -> CircuitView:
        own = self._own
        if own is None:
            clock = self._process.clock
            own = self._own = PrivateStore(lambda: int(clock() * 1000))
        known = self._process.board.remembered.get("svc")
        if known is not None and not known.is_closed:
            restore = known.restoring(command.circuit, self._process.clock())
            own.run(replace(restore, epoch=own.epoch))
        if isinstance(command, Record):
            here = own.run(Snapshot(command.circuit))
            assert isinstance(here, CircuitSnapshot)
            command = replace(command, generation=here.generation, epoch=here.epoch)
        return self._run_own(command, calls)

    def _run_own(self, command: Command, calls: list[Call]) -> CircuitView:
        assert self._own is not None
        reply = self._own.run(command)
        assert isinstance(reply, CircuitView)
        for call in calls:
            call.meet(Fate.ELSEWHERE)
        return reply

    def _claim_attempt(self) -> bool:
        if self._process.clock() < self._next_attempt:
            return False
        self._schedule_attempt()
        return True

    def _schedule_attempt(self) -> None:
        self._next_attempt = self._process.clock() + RETRY * self._rng.uniform(0.75, 1.25)

    def _note_failure(self) -> None:
        self._schedule_attempt()
        if not self.trouble.is_on:
            self.trouble.is_on = True
            self._process.board.disown_all()

    @property
    def is_well(self) -> bool:
        """The store answered last."""
        return not self.trouble.is_on

    def listen(self) -> None:
        """See to it that transitions are heard."""
        if self._process.board.is_wanting and self.is_well:
            self._process.feed.wake()
