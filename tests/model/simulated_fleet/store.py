"""The store that the fleet shares: the rules in Python, numbered reports, and its pushes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bb5_breaker._core.commands import (
    Admit,
    CountRejections,
    Extend,
    Forget,
    Look,
    Record,
    Reset,
    Settle,
)
from bb5_breaker._core.machine import Machine
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView, Verdict
from bb5_breaker.state import CircuitState

from .announcements import CHANNEL, NOTICES, write_transition
from .calls import Fate
from .network import Connection, Request
from .observer import Observer
from .showing import show, show_view
from .timeline import Timeline

if TYPE_CHECKING:
    from bb5_breaker._core.commands import Command

__all__ = ["SimulatedStore"]

_NUMBERED = (Record, Admit, Reset, CountRejections)
# These make no circuit where there is none; the rest only find nothing.
_OF_NOTHING = {
    Admit: Verdict.ALLOW,
    CountRejections: Verdict.STALE,
    Extend: Verdict.LOST,
    Forget: Verdict.UNCHANGED,
    Look: Verdict.SEEN,
    Reset: Verdict.UNCHANGED,
    Settle: Verdict.STALE,
}


class SimulatedStore:
    """One circuit in a :class:`Machine`, with what the scripts do beside its rules.

    Args:
        timeline: The true time.
        circuit: The circuit.
        rate: How fast the server's clock runs.
    """

    def __init__(self, timeline: Timeline, circuit: Circuit, rate: float) -> None:
        self.connections: list[Connection] = []
        self.machine: Machine | None = None
        self.observer = Observer(timeline, circuit)
        self._timeline = timeline
        self._circuit = circuit
        self._rate = rate
        self._lives = 0
        self._seen: dict[str, int] = {}

    def now_ms(self) -> int:
        """Return the time of the server's clock."""
        return 1_795_000_000_000 + int(self._timeline.now * 1000 * self._rate)

    def look(self) -> CircuitView:
        """Return the circuit as it is."""
        now_ms = self.now_ms()
        if self.machine is None:
            return _nothing(Verdict.SEEN, now_ms)
        return self.machine.apply(Look(self._circuit), now_ms)

    def execute(self, request: Request) -> CircuitView:
        """Carry out a request as its script does."""
        command, now_ms = request.command, self.now_ms()
        if self.machine is None:
            if type(command) is not Record:
                for call in request.calls:
                    call.meet(Fate.STALE)
                return _nothing(_OF_NOTHING[type(command)], now_ms)
            self._create(command.generation)
        machine, observer = self.machine, self.observer
        assert machine is not None
        if type(command) is Forget:
            return self._forget(machine, now_ms)
        is_repeat = self._is_repeat(request)
        expected = False if is_repeat else observer.expects(request, now_ms)
        before = None if expected else machine.snapshot(now_ms)
        told = self._run(machine, command, now_ms, is_repeat)
        self._timeline.say("store:", show(request), "->", show_view(told))
        observer.check(request, told, expected, before, machine.snapshot(now_ms))
        self._announce(command, told)
        return told

    def _run(self, machine: Machine, command: Command, now_ms: int, is_repeat: bool) -> CircuitView:
        if is_repeat:
            return self._repeat(command, machine.apply(Look(self._circuit), now_ms))
        told = machine.apply(command, now_ms)
        if told.verdict is Verdict.STALE and type(command) is not CountRejections:
            # The scripts do not read the end of the open period for these.
            return replace(told, until_ms=0)
        return told

    def _is_repeat(self, request: Request) -> bool:
        """Tell whether the script has seen the number; some find before that nothing is to do."""
        command, known = request.command, self.observer
        if type(command) not in _NUMBERED:
            return False
        if type(command) is Record and not known.is_present(command.generation, command.epoch):
            return False
        if type(command) is CountRejections and command.epoch != known.epoch:
            return False
        if type(command) is Admit and known.state is CircuitState.CLOSED:
            return False
        if request.sequence <= self._seen.get(request.sender, 0):
            return True
        self._seen[request.sender] = request.sequence
        return False

    def _repeat(self, command: Command, present: CircuitView) -> CircuitView:
        if type(command) is CountRejections:
            return replace(present, verdict=Verdict.REPEAT)
        if type(command) is not Admit:
            return replace(present, verdict=Verdict.REPEAT, until_ms=0)
        end = self.observer.leases.get(command.token, 0)
        if end > present.now_ms:
            return replace(present, verdict=Verdict.PROBE, until_ms=end)
        return replace(present, verdict=Verdict.REJECT)

    def _create(self, generation: int) -> None:
        self._lives += 1
        self.machine = Machine(f"life{self._lives}", "store")
        # A caller that knows a later generation than an emptied store keeps it.
        self.machine._course.generation = generation
        self.observer.note_state(self.look())

    def _forget(self, machine: Machine, now_ms: int) -> CircuitView:
        self.observer.note_end(machine.snapshot(now_ms))
        self.machine = None
        told = _nothing(Verdict.FORGOTTEN, now_ms)
        self.observer.note_state(told)
        self._publish(NOTICES, self._circuit.service.encode())
        return told

    def _announce(self, command: Command, told: CircuitView) -> None:
        if told.moved_from is not None:
            self._timeline.say("STORE", told.moved_from.value, "->", told.state.value)
            self._publish(CHANNEL, write_transition(self._circuit.service, told))
        elif type(command) is Reset and told.verdict is Verdict.RESET:
            self._publish(NOTICES, self._circuit.service.encode())

    def _publish(self, channel: bytes, payload: bytes) -> None:
        self.observer.published += channel == CHANNEL
        for connection in self.connections:
            connection.publish(channel, payload)


def _nothing(verdict: Verdict, now_ms: int) -> CircuitView:
    return CircuitView(verdict, CircuitState.CLOSED, 0, "", now_ms, 0, 0, "", 0, None, False)
