"""What guards the circuits of a store, or of a part of one, while it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bb5_breaker._core.commands import Command, Extend, Outcome, Record, Run, Settle, Snapshot
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import Reply
from bb5_breaker._shell.owed import Owed
from bb5_breaker._shell.remembered import Known, Remembered
from bb5_breaker._store.private_store import PRIVATE, PrivateStore

__all__ = ["StandIn", "as_shared"]


def as_shared(report: Record, remembered: Remembered) -> Record:
    """Return the report of a call that a stand-in admitted in the words of the store.

    Where the circuit has not changed here, it is in the state that the store saw last. Other
    reports are left as they are, and are nothing to the store.
    """
    if report.generation != 0 or not report.epoch.startswith(PRIVATE):
        return report
    known = remembered.get(report.circuit.service)
    generation, epoch = (known.told.generation, known.told.epoch) if known else (0, "")
    return replace(report, generation=generation, epoch=epoch)


class StandIn:
    """The same rules in this process alone, from what the store said last.

    What it counts in the state that the store knows is owed to the store. What comes after a
    change of its own is not: there the store goes its own way. Thread-safe.

    Args:
        remembered: What the store said of circuits.
        owed: Takes what the store is to be told.
        clock: Monotonic seconds.
    """

    def __init__(self, remembered: Remembered, owed: Owed, clock: Callable[[], float]) -> None:
        self._remembered = remembered
        self._owed = owed
        self._clock = clock
        self._store = PrivateStore()

    def owns(self, command: Command) -> bool:
        """Return True for what belongs to a call that was admitted here: it is settled here."""
        if not isinstance(command, Record | Settle | Extend):
            return False
        return command.epoch.startswith(self._store.epoch)

    def run_own(self, command: Command) -> Reply:
        """Carry out a command that belongs to a call that was admitted here."""
        if isinstance(command, Record) and command.generation == 0:
            self._owed.note(as_shared(command, self._remembered), self._clock())
        return self._store.run(command)

    def obey(self, order: Command) -> None:
        """Carry out a user's order."""
        self._store.run(order)

    def run(self, command: Command, *, is_counted: bool) -> Reply:
        """Carry out a command that the store did not.

        Args:
            command: The command.
            is_counted: The store may have counted it, or will be asked to under its number.
        """
        known = self._remembered.get(command.circuit.service)
        if known is not None:
            self._take_over(command.circuit, known)
        if isinstance(command, Record):
            if not is_counted:
                self._owed.note(command, self._clock())
            # Admitted by the store: it counts in what the circuit is here now.
            here = self._store.run(Snapshot(command.circuit))
            command = replace(command, generation=here.generation, epoch=here.epoch)
        return self._store.run(command)

    def _take_over(self, circuit: Circuit, known: Known) -> None:
        """Go on from what is known of a circuit, once."""
        if not known.is_closed:
            # Nothing happens when that was done already.
            restore = known.restoring(circuit, self._clock())
            self._store.run(replace(restore, epoch=self._store.epoch))
        elif known.told.failures and circuit.service not in self._store:
            failed = (Run(Outcome.FAILURE, known.told.failures),)
            self._store.run(Record(circuit, 0, "", failed, known.told.last_error))
