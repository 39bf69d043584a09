"""The way to the store, and what stands in for it while it does not answer."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Sequence
from enum import Enum, auto

from bb5_breaker._core.commands import (
    Command,
    Extend,
    Forget,
    Look,
    Record,
    Snapshot,
)
from bb5_breaker._core.local_view import LocalView
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Reply, Verdict
from bb5_breaker._core.tally import Lease
from bb5_breaker._shell.announcing import store_event
from bb5_breaker._shell.asking import Asker
from bb5_breaker._shell.board import Board
from bb5_breaker._shell.feed import Feed
from bb5_breaker._shell.flusher import Flusher
from bb5_breaker._shell.owed import Owed
from bb5_breaker._shell.pace import DEFAULT_PACE, Pace
from bb5_breaker._shell.recovery import Hearer, Recovery
from bb5_breaker._shell.standin import StandIn, as_shared
from bb5_breaker._shell.trouble import Trouble
from bb5_breaker._store.interface import Store
from bb5_breaker._store.private_store import PrivateStore
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.events import EventType
from bb5_breaker.exceptions import (
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    StoreVersionError,
)
from bb5_breaker.store_status import StoreState, StoreStatus

__all__ = ["Link"]

_log = logging.getLogger("bb5_breaker")


class _Missed(Enum):
    """What became of a command that the store did not answer."""

    NOT_COUNTED = auto()
    PERHAPS_COUNTED = auto()


class Link:
    """Runs the commands of calls; it never raises a store's error.

    While the shared store does not answer, this process guards its calls alone, by the same
    rules; one attempt every ``retry_interval`` finds out when it is back. Each change is logged
    once. Thread-safe.

    Args:
        store: The store to use.
        pace: How often it tries a store that is down, reports, and listens.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        store: Store,
        pace: Pace = DEFAULT_PACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._is_alone = isinstance(store, PrivateStore) and not store.shared
        keep = store.rules.idle_ms / 1000 if isinstance(store, RedisStore) else float("inf")
        # Nobody else changes a private store's circuits: what is known of them holds.
        self.board = Board(Lease(float("inf")) if self._is_alone else None, clock, keep)
        knock = weakref.WeakMethod(self._knock)
        self.trouble = Trouble(store, pace.retry_interval, knock, clock)
        self.board.trouble = self.trouble
        self._owed = Owed()
        self._stand_ins: dict[str, StandIn] = {}
        self.flusher = Flusher(
            store,
            self.board,
            pace.flush_interval,
            pace.flush_size,
            pace.retry_interval,
            self._owed,
            self.trouble.is_well,
        )
        self._feed = (
            Feed(store, self.board, pace.heartbeat_interval, pace.retry_interval)
            if isinstance(store, RedisStore)
            else None
        )
        self.recovery = Recovery(weakref.ref(self), pace.retry_interval, clock)
        self.board.told = self.recovery.note
        self.board.doubted = self.recovery.hurry
        self.board.rumoured = self.recovery.confirm
        self.retry_interval = pace.retry_interval
        # Event buses that are to be told of the store, beside those of breakers.
        self.hearers: weakref.WeakSet[Hearer] = weakref.WeakSet()
        self._clock = clock
        self._asker = Asker(store, self.board, self._owed, self.recovery.announce, clock)
        # Configured anew, a process must not keep the connections of before.
        weakref.finalize(self, _end, self._feed, self.recovery, self.flusher, self.trouble)

    @property
    def failing(self) -> StoreError | None:
        """The error for which this process guards calls alone; None while all is well."""
        return self.trouble.first

    def run(self, command: Command) -> Reply:
        """Carry out a command of a call, at the store or, failing that, here."""
        if self._stand_ins:
            stand_in = self._stand_ins.get(self.store.part_of(command.circuit.service))
            if stand_in is not None and stand_in.owns(command):
                return stand_in.run_own(command)
        if isinstance(command, Record) and not self._is_alone:
            command = as_shared(command, self.board.remembered)
        reply = self._try(command)
        if isinstance(reply, _Missed):
            return self._run_here(command, is_counted=reply is _Missed.PERHAPS_COUNTED)
        return reply

    def attempt(self, command: Command) -> Reply | None:
        """Carry out a command at the store itself; None when it fails, or is not to be tried now.

        For what no call waits for: nothing stands in for the store.
        """
        reply = self._try(command)
        return None if isinstance(reply, _Missed) else reply

    def volunteer(self, command: Command) -> Reply | None:
        """Carry out a command as :meth:`attempt` does, for a user who need not have the right to.

        Raises:
            StorePermissionError: The user has not: that is no failure of the store.
        """
        reply = self._try_with_rights(command)
        return None if isinstance(reply, _Missed) else reply

    def error_of(self, service: str) -> StoreError:
        """Return why the store does not answer for a circuit; the first such error."""
        failure = self.trouble.of(service)
        if failure is not None:
            return failure.error
        return StoreUnavailableError(f"the store at {self.store.address} did not answer; try again")

    def status_of(self, service: str, on_failure: str) -> StoreStatus:
        """Return how this process stands with the store of a circuit; asks nobody."""
        failure, address = self.trouble.of(service), self.store.address
        if failure is None:
            state = StoreState.PRIVATE if self._is_alone else StoreState.CONNECTED
            return StoreStatus(state, address, None, None, on_failure)
        state = StoreState.DAMAGED if failure.is_damage else StoreState.UNAVAILABLE
        seconds = self._clock() - failure.since
        return StoreStatus(state, address, failure.error.message, seconds, on_failure)

    def view_of(self, circuit: Circuit) -> LocalView:
        """Return what this process knows of a circuit; from now on it listens for more."""
        return self.board.view_of(circuit, self)

    def listen(self) -> None:
        """See to it that transitions of all circuits viewed here are heard."""
        if self._feed is not None and self.board.is_wanting and not self.trouble:
            self._feed.wake()

    def view(self, command: Command) -> CircuitView:
        """Carry out a command other than a snapshot."""
        reply = self.run(command)
        assert isinstance(reply, CircuitView)
        return reply

    def read(self, command: Snapshot) -> CircuitSnapshot:
        """Read a circuit from the store itself.

        Raises:
            StoreError: The store could not be read.
        """
        reply = self.store.run(command)
        assert isinstance(reply, CircuitSnapshot)
        return reply

    def order(self, command: Command) -> CircuitView:
        """Carry out a user's order at the store itself, and here for as long as it is down.

        Raises:
            StoreError: The store could not do it.
        """
        service = command.circuit.service
        stand_in = self._stand_ins.get(self.store.part_of(service))
        if stand_in is not None:
            stand_in.obey(command)
        if isinstance(command, Forget):
            self.board.remembered.forget(service)
            self._owed.take(service, self._clock())
        try:
            self._asker.pay(service)
            reply, asked_at = self._asker.ask(command)
        except StoreError:
            # Here the order holds, whatever was known before.
            self.board.remembered.forget(service)
            raise
        assert isinstance(reply, CircuitView)
        if self.trouble:
            self._note_answer(command.circuit)
        self.board.learn(service, reply, asked_at)
        return reply

    def order_many(self, commands: Sequence[Command]) -> None:
        """Carry out orders at the store itself, in few round trips.

        Raises:
            StoreError: The store could not do it, or not all of it.
        """
        asked_at = self._clock()
        for command, reply in zip(commands, self.store.run_many(commands), strict=True):
            if isinstance(reply, StoreError):
                raise reply
            assert isinstance(reply, CircuitView)
            self.board.learn(command.circuit.service, reply, asked_at)

    def renew(self, command: Extend) -> bool:
        """Prolong a lease; False when it is lost. A store that fails is asked again later."""
        try:
            stand_in = self._stand_ins.get(self.store.part_of(command.circuit.service))
            if stand_in is not None and stand_in.owns(command):
                reply = stand_in.run_own(command)
            else:
                reply = self.store.run(command)
        except StoreError:
            return True
        return isinstance(reply, CircuitView) and reply.verdict is not Verdict.LOST

    def _try(self, command: Command) -> Reply | _Missed:
        try:
            return self._try_with_rights(command)
        except StorePermissionError as error:
            self._note_failure(command.circuit, error)
            return _Missed.NOT_COUNTED

    def _try_with_rights(self, command: Command) -> Reply | _Missed:
        """Carry out a command at the store.

        Raises:
            StorePermissionError: This user has not the right to.
        """
        circuit = command.circuit
        if self.trouble and not self.trouble.may_ask(circuit.service):
            return _Missed.NOT_COUNTED
        is_asked = False
        try:
            self._asker.pay(circuit.service)
            is_asked = True
            reply, asked_at = self._asker.ask(command)
        except StorePermissionError:
            raise
        except (StoreUnavailableError, StoreVersionError) as error:
            self._note_failure(circuit, error)
            # Of a report that perhaps arrived the store itself keeps track.
            arrived = is_asked and error.is_silent
            return _Missed.PERHAPS_COUNTED if arrived else _Missed.NOT_COUNTED
        except StoreError as error:
            # The store answers: the trouble is with this circuit's keys.
            self._note_damage(circuit, error)
            return _Missed.NOT_COUNTED
        if self.trouble:
            self._note_answer(circuit)
        if isinstance(reply, CircuitView):
            self.board.learn(circuit.service, reply, asked_at)
        return reply

    def _knock(self, part: str, circuit: Circuit) -> None:
        """Find out whether a part of the store answers again; called by a thread for that."""
        try:
            self._asker.pay(circuit.service)
            self._asker.ask(Look(circuit))
        except (StoreUnavailableError, StorePermissionError, StoreVersionError):
            return
        except StoreError as error:
            # It answers, if not well.
            self._note_damage(circuit, error)
        self._end_trouble(part)

    def _run_here(self, command: Command, *, is_counted: bool) -> Reply:
        part = self.store.part_of(command.circuit.service)
        stand_in = self._stand_ins.get(part)
        if stand_in is None:
            made = StandIn(self.board.remembered, self._owed, self._clock)
            stand_in = self._stand_ins.setdefault(part, made)
        reply = stand_in.run(command, is_counted=is_counted)
        if self._owed and not self.trouble:
            self.flusher.wake()
        return reply

    def _note_failure(self, circuit: Circuit, error: StoreError) -> None:
        if self.trouble.begin(circuit, error):
            # From here on the stand-in decides, not what the store said last.
            self.board.disown_all()
            _log.error("%s. Until it answers this process guards its calls alone", error.message)
            self._tell(EventType.STORE_UNAVAILABLE, error.message)

    def _note_answer(self, circuit: Circuit) -> None:
        for part in self.trouble.settled_by(circuit.service):
            self._end_trouble(part)
        stand_in = self._stand_ins.get(self.store.part_of(circuit.service))
        if self.trouble.end_damage(circuit.service) and stand_in is not None:
            stand_in.obey(Forget(circuit))

    def _end_trouble(self, part: str) -> None:
        failure = self.trouble.end(part)
        if failure is None:
            return
        # The next outage begins from what the store says until then.
        self._stand_ins.pop(part, None)
        _log.warning("the store at %s answers again", self.store.address)
        self._tell(EventType.STORE_AVAILABLE, None)
        self.flusher.wake()

    def _tell(self, event_type: EventType, error: str | None) -> None:
        event = store_event(event_type, self.store.address, error)
        self.recovery.tell_of_store(event, self.hearers)

    def _note_damage(self, circuit: Circuit, error: StoreError) -> None:
        if self.trouble.begin_damage(circuit, error):
            service = circuit.service
            self.board.disown(service)
            _log.error("%s. Until then this process guards '%s' alone", error.message, service)


def _end(feed: Feed | None, recovery: Recovery, flusher: Flusher, trouble: Trouble) -> None:
    if feed is not None:
        feed.stop()
    recovery.stop()
    trouble.stop()
    flusher.stop()
