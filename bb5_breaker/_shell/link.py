"""The way to the store, and what stands in for it while it does not answer."""

from __future__ import annotations

import logging
import random
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bb5_breaker._core.commands import Command, Extend, Record, Settle, Snapshot
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Reply, Verdict
from bb5_breaker._store.interface import Store
from bb5_breaker._store.private_store import PrivateStore
from bb5_breaker.exceptions import (
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    StoreVersionError,
)
from bb5_breaker.state import CircuitState

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
        retry_interval: Seconds between attempts while it is down.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        store: Store,
        retry_interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._own = (
            store if isinstance(store, PrivateStore) and not store.shared else PrivateStore()
        )
        # Circuits last seen open, with the end on our clock: they stay open here.
        self._seen_open: dict[str, tuple[float, CircuitView]] = {}
        self._retry_interval = retry_interval
        self._clock = clock
        self._next_attempt = 0.0
        # In a tuple of its own each, so that the one who set it knows: a store may raise one
        # error object twice.
        self._trouble: dict[str, tuple[StoreError]] = {}
        self._damaged: dict[str, tuple[StoreError]] = {}
        # Configured anew, a process must not keep the connections of before.
        weakref.finalize(self, store.close)

    @property
    def failing(self) -> StoreError | None:
        """The error for which this process guards its calls alone; None while all is well."""
        trouble = self._trouble.get("store")
        return trouble and trouble[0]

    def run(self, command: Command) -> Reply:
        """Carry out a command of a call, at the store or, failing that, here."""
        if self._is_own(command):
            return self._own.run(command)
        if self._trouble and not self._claim_attempt():
            return self._run_here(command)
        try:
            reply = self.store.run(command)
        except (StoreUnavailableError, StorePermissionError, StoreVersionError) as error:
            self._note_failure(error)
            return self._run_here(command)
        except StoreError as error:
            # The store answers: the trouble is with this circuit's keys.
            self._note_damage(command, error)
            return self._run_here(command)
        if self._trouble:
            self._note_recovery()
        if isinstance(reply, CircuitView):
            self._remember(command.circuit.service, reply)
        return reply

    def view(self, command: Command) -> CircuitView:
        """Carry out a command other than a snapshot."""
        reply = self.run(command)
        assert isinstance(reply, CircuitView)
        return reply

    def snapshot(self, command: Snapshot) -> CircuitSnapshot:
        """Read a circuit, at the store or, failing that, what this process knows."""
        reply = self.run(command)
        assert isinstance(reply, CircuitSnapshot)
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
        if self.store.shared:
            self._own.run(command)
        reply = self.store.run(command)
        assert isinstance(reply, CircuitView)
        return reply

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

    def _remember(self, service: str, view: CircuitView) -> None:
        if view.state is CircuitState.OPEN and view.until_ms:
            ends = self._clock() + (view.until_ms - view.now_ms) / 1000
            self._seen_open[service] = (ends, view)
        elif service in self._seen_open:
            self._seen_open.pop(service, None)

    def _run_here(self, command: Command) -> Reply:
        service = command.circuit.service
        if service in self._seen_open and (seen := self._seen_open.pop(service, None)):
            ends, view = seen
            remaining_ms = max(0, round((ends - self._clock()) * 1000))
            self._own.adopt_open(service, remaining_ms, view.failures, view.last_error)
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
        self._next_attempt = self._clock() + self._retry_interval * random.uniform(0.75, 1.25)

    def _note_failure(self, error: StoreError) -> None:
        self._schedule_attempt()
        mine = (error,)
        if self._trouble.setdefault("store", mine) is mine:
            _log.error("%s. Until it answers this process guards its calls alone", error.message)

    def _note_recovery(self) -> None:
        # The next outage begins from what the store says until then.
        self._own = PrivateStore()
        if self._trouble.pop("store", None) is not None:
            _log.warning("the store at %s answers again", self.store.address)

    def _note_damage(self, command: Command, error: StoreError) -> None:
        service = command.circuit.service
        known, mine = self._damaged, (error,)
        if len(known) < _MOST_NAMED and known.setdefault(service, mine) is mine:
            _log.error("%s. Until then this process guards '%s' alone", error.message, service)
