"""A store of one process's own: the same rules, shared with nobody."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

from bb5_breaker._core.commands import (
    Clear,
    Command,
    CountRejections,
    Extend,
    Forget,
    Look,
    Promote,
    Reset,
    Settle,
    Snapshot,
)
from bb5_breaker._core.machine import Machine
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Reply, Verdict, bare_view
from bb5_breaker._store.forks import renew_in_children
from bb5_breaker._store.identity import process_owner
from bb5_breaker._store.senders import Sender, Unsure
from bb5_breaker.exceptions import StoreError

__all__ = ["PRIVATE", "PrivateStore"]

# How the names of lives begin that no other process sees.
PRIVATE: Final = "private@"
_MOST_CIRCUITS: Final = 100_000
_STORES: Final = count()
# These make no circuit where there is none.
_WITHOUT_CIRCUIT: Final = {
    Clear: Verdict.UNCHANGED,
    CountRejections: Verdict.STALE,
    Extend: Verdict.LOST,
    Look: Verdict.SEEN,
    Promote: Verdict.UNCHANGED,
    Reset: Verdict.UNCHANGED,
    Settle: Verdict.STALE,
}


class PrivateStore:
    """Circuits in the memory of this process.

    Thread-safe; the lock is held for microseconds, never while a user's call runs. A child
    process starts empty. Past 100,000 circuits the one unused for longest is forgotten.

    Args:
        clock: Gives the time in ms; None takes the process's own clock, which only this
            process sees.
    """

    shared = False
    address = "this process (private)"

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock if clock is not None else _process_clock()
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without circuits."""
        # Told apart from every other store, so that a call is settled where it was admitted.
        # It is the beginning of the epochs of its circuits.
        self.epoch = f"{PRIVATE}{process_owner()}/{next(_STORES)}/"
        self._lock = threading.Lock()
        self._machines: OrderedDict[str, Machine] = OrderedDict()
        self._forgotten = 0

    def __contains__(self, service: str) -> bool:
        return service in self._machines

    def run(self, command: Command) -> Reply:
        """Carry out one command."""
        now_ms = self._clock()
        service = command.circuit.service
        with self._lock:
            if isinstance(command, Snapshot):
                machine = self._machines.get(service)
                return machine.snapshot(now_ms) if machine else CircuitSnapshot(False, now_ms)
            if isinstance(command, Forget):
                gone = self._machines.pop(service, None)
                self._forgotten += gone is not None
                return bare_view(Verdict.FORGOTTEN if gone else Verdict.UNCHANGED, now_ms)
            if service not in self._machines and type(command) in _WITHOUT_CIRCUIT:
                return bare_view(_WITHOUT_CIRCUIT[type(command)], now_ms)
            return _change(self._machine(service), command, now_ms)

    def run_many(
        self,
        commands: Sequence[Command],
        sender: Sender | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[Reply | StoreError]:
        """Carry out commands, one after the other; nothing is lost that would be given again."""
        return [self.run(command) for command in commands]

    def take_unsure(self) -> list[Unsure]:
        """Return nothing: no report gets lost."""
        return []

    def part_of(self, service: str) -> str:
        """Return the empty string: this store is one."""
        return ""

    def list_services(self) -> list[str]:
        """Return the ids of the circuits of this process, sorted."""
        with self._lock:
            return sorted(self._machines)

    def drop_service(self, service: str) -> None:
        """Do nothing: what is forgotten is out of the list."""

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _machine(self, service: str) -> Machine:
        machine = self._machines.get(service)
        if machine is None:
            # A circuit that follows a forgotten one must not take its late reports for its own.
            epoch = f"{self.epoch}{self._forgotten or ''}"
            machine = self._machines[service] = Machine(epoch, process_owner())
            if len(self._machines) > _MOST_CIRCUITS:
                self._machines.popitem(last=False)
        self._machines.move_to_end(service)
        return machine


def _change(machine: Machine, command: Command, now_ms: int) -> CircuitView:
    try:
        return machine.apply(command, now_ms)
    except BaseException:
        # A signal's handler raised in the middle of the change.
        machine.mend()
        raise


def _process_clock() -> Callable[[], int]:
    # Wall time to show, advanced by a clock that nobody sets.
    offset = time.time() - time.monotonic()
    return lambda: int((offset + time.monotonic()) * 1000)
