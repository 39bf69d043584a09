"""The way to the store, and what stands in for it while it does not answer."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from bb5_breaker._core.commands import (
    Admit,
    Command,
    Extend,
    Forget,
    Promote,
    Record,
    Reset,
    Settle,
    Snapshot,
)
from bb5_breaker._core.local_view import LocalView
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Reply, Verdict
from bb5_breaker._core.tally import Lease
from bb5_breaker._shell.board import Board
from bb5_breaker._shell.feed import Feed
from bb5_breaker._shell.flusher import Flusher
from bb5_breaker._shell.pace import DEFAULT_PACE, Pace
from bb5_breaker._shell.recovery import Recovery
from bb5_breaker._store.chance import draw_between
from bb5_breaker._store.interface import Store
from bb5_breaker._store.private_store import PrivateStore
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.exceptions import (
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    StoreVersionError,
)

__all__ = ["Link"]

_log = logging.getLogger("bb5_breaker")
_MOST_NAMED: Final = 1000


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
        self._own = (
            store if isinstance(store, PrivateStore) and not store.shared else PrivateStore()
        )
        # Nobody else changes a private store's circuits: what is known of them holds.
        keep = store.rules.idle_ms / 1000 if isinstance(store, RedisStore) else float("inf")
        self.board = Board(None if store.shared else Lease(float("inf")), clock, keep)
        self.flusher = Flusher(
            store, self.board, pace.flush_interval, pace.flush_size, pace.retry_interval
        )
        self._feed = (
            Feed(store, self.board, pace.heartbeat_interval, pace.retry_interval)
            if isinstance(store, RedisStore)
            else None
        )
        self.recovery = Recovery(weakref.ref(self), pace.retry_interval, clock)
        self.board.told = self.recovery.note
        self.board.doubted = self.recovery.hurry
        self.retry_interval = pace.retry_interval
        self._clock = clock
        self._next_attempt = float("-inf")
        # In a tuple of its own each, so that the one who set it knows: a store may raise one
        # error object twice.
        self._trouble = self.board.trouble
        self._damaged: dict[str, tuple[StoreError]] = {}
        # Configured anew, a process must not keep the connections of before.
        weakref.finalize(self, _end, self._feed, self.recovery, self.flusher)

    @property
    def failing(self) -> StoreError | None:
        """The error for which this process guards its calls alone; None while all is well."""
        trouble = self._trouble.get("store")
        return trouble and trouble[0]

    def run(self, command: Command) -> Reply:
        """Carry out a command of a call, at the store or, failing that, here."""
        if self._own is not self.store and self._is_own(command):
            return self._own.run(command)
        reply = self.attempt(command)
        return reply if reply is not None else self._run_here(command)

    def attempt(self, command: Command) -> Reply | None:
        """Carry out a command at the store itself; None when it fails, or is not to be tried now.

        For what no call waits for: nothing stands in for the store.
        """
        if self._trouble and not self._claim_attempt():
            return None
        asked_at = self._clock()
        try:
            reply, asked_at = self._ask(command, asked_at)
        except (StoreUnavailableError, StorePermissionError, StoreVersionError) as error:
            self._note_failure(error)
        except StoreError as error:
            # The store answers: the trouble is with this circuit's keys.
            self._note_damage(command, error)
        else:
            if self._trouble:
                self._note_recovery()
            if isinstance(reply, CircuitView):
                self.board.learn(command.circuit.service, reply, asked_at)
            return reply
        return None

    def view_of(self, circuit: Circuit) -> LocalView:
        """Return what this process knows of a circuit; from now on it listens for more."""
        return self.board.view_of(circuit, self)

    def listen(self) -> None:
        """See to it that transitions of all circuits viewed here are heard."""
        if self._feed is not None and self.board.is_wanting and not self._trouble:
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
        if self.store.shared:
            self._own.run(command)
        if isinstance(command, Forget):
            self.board.remembered.forget(service)
        try:
            reply, asked_at = self._ask(command, self._clock())
        except StoreError:
            # Here the order holds, whatever was known before.
            self.board.remembered.forget(service)
            raise
        assert isinstance(reply, CircuitView)
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
            reply = self._own.run(command) if self._is_own(command) else self.store.run(command)
        except StoreError:
            return True
        return isinstance(reply, CircuitView) and reply.verdict is not Verdict.LOST

    def _is_own(self, command: Command) -> bool:
        """A call that was admitted here is settled here."""
        if not isinstance(command, Record | Settle | Extend):
            return False
        return command.epoch.startswith(self._own.epoch)

    def _ask(self, command: Command, asked_at: float) -> tuple[Reply, float]:
        """Ask the store; one that lost its memory is told first what is known here.

        Returns:
            The reply, and when it was asked for.
        """
        reply = self.store.run(command)
        remembered, service = self.board.remembered, command.circuit.service
        if not isinstance(reply, CircuitView) or not remembered.exceeds(service, reply, asked_at):
            return reply, asked_at
        known = remembered.get(service)
        if known is None:
            return reply, asked_at
        asked_at = self._clock()
        told = self.store.run(known.restoring(command.circuit, asked_at))
        assert isinstance(told, CircuitView)
        # Whether it was taken or not: this is how it is.
        remembered.forget(service)
        self.board.learn(service, told, asked_at)
        if told.verdict is not Verdict.RESTORED:
            return reply, asked_at
        _log.warning(
            "the store at %s had lost '%s' and was told that it is %s, for %.1f s",
            self.store.address,
            service,
            told.state.value,
            max(0, told.until_ms - told.now_ms) / 1000,
        )
        self.recovery.announce(service, told)
        if isinstance(command, Admit | Promote | Reset):
            # It was answered from nothing.
            asked_at = self._clock()
            return self.store.run(command), asked_at
        return replace(told, verdict=reply.verdict, moved_from=None), asked_at

    def _run_here(self, command: Command) -> Reply:
        known = self.board.remembered.get(command.circuit.service)
        if known is not None and not known.is_closed:
            # Nothing happens when the stand-in was told already.
            restore = known.restoring(command.circuit, self._clock())
            self._own.run(replace(restore, epoch=self._own.epoch))
        if isinstance(command, Record):
            # Admitted by the store, reported to the stand-in: it counts in what
            # the stand-in holds now.
            here = self._own.run(Snapshot(command.circuit))
            command = replace(command, generation=here.generation, epoch=here.epoch)
        return self._own.run(command)

    # No locks from here on: each change is one atomic operation of a dict, so that an
    # interrupt can leave none held on the way round a dead store.

    def _claim_attempt(self) -> bool:
        """Let one caller an interval try the store; a frozen one costs one time-out."""
        if self._clock() < self._next_attempt:
            return False
        self._schedule_attempt()
        return True

    def _schedule_attempt(self) -> None:
        # Jitter keeps a fleet from knocking in step.
        self._next_attempt = self._clock() + self.retry_interval * draw_between(0.75, 1.25)

    def _note_failure(self, error: StoreError) -> None:
        self._schedule_attempt()
        mine = (error,)
        if self._trouble.setdefault("store", mine) is mine:
            # From here on the stand-in decides, not what the store said last.
            self.board.disown_all()
            _log.error("%s. Until it answers this process guards its calls alone", error.message)

    def _note_recovery(self) -> None:
        # The next outage begins from what the store says until then.
        self._own = PrivateStore()
        if self._trouble.pop("store", None) is not None:
            _log.warning("the store at %s answers again", self.store.address)

    def _note_damage(self, command: Command, error: StoreError) -> None:
        service = command.circuit.service
        self.board.disown(service)
        known, mine = self._damaged, (error,)
        if len(known) < _MOST_NAMED and known.setdefault(service, mine) is mine:
            _log.error("%s. Until then this process guards '%s' alone", error.message, service)


def _end(feed: Feed | None, recovery: Recovery, flusher: Flusher) -> None:
    if feed is not None:
        feed.stop()
    recovery.stop()
    flusher.stop()
