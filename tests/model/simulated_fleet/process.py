"""One worker process: its clock, what it knows, and its threads."""

from __future__ import annotations

import random
from collections import deque
from itertools import count
from typing import Any

from bb5_breaker._core.commands import Command
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.tally import Pending, Tally
from bb5_breaker._shell.board import Board

from .calls import Call, Violation
from .clocks import LocalClock
from .feed import Feed
from .flushing import Flushing
from .link import Link
from .network import Network, Request
from .threads import Thread
from .witness import Witness

__all__ = ["Process"]


class Process:
    """A process that can be frozen, cut off and killed.

    Args:
        number: Its name.
        network: The way to the store.
        circuit: The circuit that it calls.
        rng: Draws its clock and its pace.
    """

    def __init__(self, number: int, network: Network, circuit: Circuit, rng: random.Random) -> None:
        self.name = f"p{number}"
        self.number = number
        self.network = network
        self.timeline = network.timeline
        self.weather = network.weather
        self.circuit = circuit
        self.clock = LocalClock(network.timeline, rng)
        self.is_alive, self.is_frozen, self.is_cut_off = True, False, False
        # When the last PING that was answered went out, by its own clock.
        self.pinged_at = float("-inf")
        # The place of the latest state that it was pushed word of.
        self.heard = 0
        self.board = Board(None, self.clock)
        # This store loses nothing. What is missing was forgotten on purpose: there restore.lua
        # changes nothing, and the process learns so.
        self.board.doubted = self.board.remembered.forget
        self.view = self.board.view_of(circuit, self)
        # As a guard has it.
        self.tally = Tally.nowhere()
        self.successes: dict[Tally, deque[Call]] = {}
        self.witness = Witness(self)
        self.link = Link(self, rng)
        self.flusher = Flushing(self, rng)
        self.feed = Feed(self)
        self._backlog: list[tuple[Thread, Any]] = []
        # With the last number of each.
        self._senders: deque[tuple[str, int]] = deque()
        self._names = count()

    def resume(self, thread: Thread, value: Any = None) -> None:
        """Let a thread go on; a frozen process does so when it is thawed."""
        if not self.is_alive:
            return
        if self.is_frozen:
            self._backlog.append((thread, value))
            return
        try:
            waits = thread.send(value)
        except StopIteration:
            waits = None
        self.witness.look()
        if type(waits) is float:
            self.timeline.after(waits, self.resume, thread)
        elif waits is not None:
            waits.attach(thread)

    def thaw(self, rng: random.Random) -> None:
        """Let all threads go on, in any order."""
        self.is_frozen = False
        backlog, self._backlog = self._backlog, []
        rng.shuffle(backlog)
        for thread, value in backlog:
            self.timeline.after(1e-5, self.resume, thread, value)

    def ask(self, command: Command, calls: list[Call]) -> Thread:
        """Send one command under a sender of its own; return the reply, or None."""
        name, last = self._senders.pop() if self._senders else (self._name_sender(), 0)
        request = Request(command, name, last + 1, calls, self.timeline.now)
        replies = yield self.network.ask(self, (request,))
        self._senders.append((name, last + 1))
        return None if replies is None else replies[0]

    def _name_sender(self) -> str:
        return f"{self.name}/{next(self._names)}"

    def count_success(self, tally: Tally, call: Call) -> None:
        """Count as a call does that ran on a tally."""
        tally.count += 1
        tally.last = self.clock()
        self.successes.setdefault(tally, deque()).append(call)

    def collect(self, pending: Pending | None) -> list[Call]:
        """Return the calls that were taken for a report."""
        if pending is None:
            return []
        waiting = self.successes[pending.tally]
        if pending.count > len(waiting):
            raise Violation("h: nothing twice", f"{self.name} reports {pending} of {len(waiting)}")
        return [waiting.popleft() for _ in range(pending.count)]
