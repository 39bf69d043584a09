"""Carries what gathered in the process to the store, many circuits in one pipeline."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final
from weakref import ref

from bb5_breaker._core.commands import Command
from bb5_breaker._core.local_view import LocalView
from bb5_breaker._shell.board import Board
from bb5_breaker._shell.exits import flush_at_exit
from bb5_breaker._shell.outbox import Outbox, reports_of
from bb5_breaker._shell.owed import Owed
from bb5_breaker._store.background import Background
from bb5_breaker._store.forks import renew_in_children
from bb5_breaker._store.interface import Store
from bb5_breaker.exceptions import StoreError

__all__ = ["Flusher"]

_log = logging.getLogger("bb5_breaker")
# After as many rounds without a call a circuit is left alone; its next call says it is back.
_IDLE_ROUNDS: Final = 10
_LONGEST_WAIT: Final = 1.0


class Flusher:
    """Reports the outcomes of one store's circuits at least every interval. Thread-safe.

    Its thread sleeps while no circuit has calls, and holds on to those that have, so that
    nothing is lost when a breaker is thrown away.

    Args:
        store: Where the outcomes go.
        board: The views that gather them.
        interval: Seconds between two rounds.
        size: Outcomes of one circuit that begin a round at once.
        retry_interval: Seconds between attempts while the store is down.
        owed: Outcomes that the store was not told while it was away.
        may_pay: Tells whether the store answers for a service.
    """

    def __init__(
        self,
        store: Store,
        board: Board,
        interval: float,
        size: int,
        retry_interval: float,
        owed: Owed,
        may_pay: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._board = board
        self._interval = interval
        self._size = size
        self._retry_interval = retry_interval
        self._owed = owed
        self._may_pay = may_pay
        self._thread = Background("bb5-breaker-flush")
        self.renew()
        renew_in_children(self)
        flush_at_exit(self)

    def renew(self) -> None:
        """Begin without a thread and without anything to report."""
        # A queue made in C: a caller that is interrupted in it leaves nothing locked.
        self._calls: SimpleQueue[LocalView | None] = SimpleQueue()
        # The views that are looked after, and the rounds for which each had nothing to report.
        self._idle: dict[LocalView, int] = {}
        self._turn = threading.Lock()
        self._under_way: set[ref[threading.Lock]] = set()
        self._thread.forget()
        self._stopped = False
        self._outbox = Outbox(self._store, self._board)

    def attend(self, view: LocalView) -> None:
        """Look after a view from now on, or sooner than planned if it is looked after already."""
        try:
            view.watch(self._size)
            self._calls.put(view)
            if not self._thread.is_running:
                self._start()
        except BaseException:
            # A signal's handler raised: the next outcome has to tell again.
            view.watch(0)
            raise

    def wake(self) -> None:
        """See to what the store was not told while it was away; costs no round trip here."""
        self._calls.put(None)
        if not self._thread.is_running:
            self._start()

    def flush(self, views: Iterable[LocalView]) -> None:
        """Report all that gathered in these views up to now.

        Raises:
            StoreError: The store can not be reached; what gathered is kept for later.
        """
        with self._turn:
            self._report(views)
        self._await_others()

    def flush_all(self) -> None:
        """Report all that gathered in this process.

        Raises:
            StoreError: The store can not be reached; what gathered is kept for later.
        """
        with self._turn:
            if self._admit_all() and not self._thread.is_current:
                # It waits for the first that it has to look after.
                self._calls.put(None)
            self._report(list(self._idle))
        self._await_others()

    def begin_report(self) -> threading.Lock:
        """Return a lock to hold while a call takes along what gathered, and reports it.

        Who flushes meanwhile waits for it: what he did is perhaps among that.
        """
        under_way = threading.Lock()
        self._under_way.add(ref(under_way, self._under_way.discard))
        return under_way

    def stop(self) -> None:
        """Have the thread report what is left and close the store; does not wait."""
        self._stopped = True
        self._calls.put(None)
        if not self._thread.is_running:
            self._store.close()

    def finish(self, seconds: float) -> None:
        """Report all that gathered, as the process ends, or give up after that time.

        Raises:
            StoreError: The store can not be reached.
        """
        if self._thread.is_running:
            # Its try is bounded only by the store's time-outs, the wait for it by ours.
            self._stopped = True
            self._calls.put(None)
            if not self._thread.join(seconds):
                return
        self.flush_all()

    def _start(self) -> None:
        flush_at_exit(self)
        # In a process that is ending what is left goes with its exit.
        self._thread.start(self._run)

    def _await_others(self) -> None:
        for known in self._under_way.copy():
            under_way = known()
            # Not for ever: it may be our own, when a handler of the log looks at figures.
            if under_way is not None and under_way.acquire(timeout=_LONGEST_WAIT):
                under_way.release()

    def _run(self) -> None:
        while not self._stopped and self._thread.is_current:
            if not self._idle and not self._owed and self._outbox.is_empty:
                self._admit(self._calls.get())
            self._pause(self._interval)
            if not self._take_round():
                self._rest(self._retry_interval)
        if self._thread.is_current:
            self._take_round()
            self._store.close()
        else:
            # What this one took in is the other's to look after.
            self._calls.put(None)

    def _pause(self, seconds: float) -> None:
        """Wait for the next round; a circuit that has gathered enough ends the wait."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopped:
            try:
                view = self._calls.get(timeout=left)
            except Empty:
                return
            if view in self._idle:
                return
            self._admit(view)

    def _rest(self, seconds: float) -> None:
        """Wait before the next attempt, however much gathers meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopped:
            with suppress(Empty):
                self._admit(self._calls.get(timeout=left))

    def _take_round(self) -> bool:
        """Report everything; False when the store is down."""
        try:
            self.flush_all()
        except StoreError:
            # Calls that ask the store tell of it; the outcomes are kept.
            return False
        except Exception:
            _log.exception("reporting the outcomes of calls met an error that was not expected")
            return False
        self._let_go()
        return True

    def _admit_all(self) -> bool:
        """Take in what waits to be looked after; False without any."""
        waiting = not self._calls.empty()
        while True:
            try:
                self._admit(self._calls.get_nowait())
            except Empty:
                return waiting

    def _admit(self, view: LocalView | None) -> None:
        if view is not None:
            self._idle[view] = 0

    def _report(self, views: Iterable[LocalView]) -> None:
        self._outbox.send_again()
        waiting = self._outbox.waiting
        commands: list[Command] = list(self._owed.take_all(self._may_pay, time.monotonic()))
        for view in views:
            if view.circuit.service in waiting:
                continue
            # One that nobody looks after has to tell of its next outcome.
            is_attended = view in self._idle
            pending, rejected = self._board.take(view, self._size if is_attended else 0)
            reports = reports_of(view, pending, rejected)
            if is_attended:
                self._idle[view] = 0 if reports else self._idle[view] + 1
            commands += reports
        self._outbox.send(commands)
        if self._outbox.refusal is not None:
            raise self._outbox.refusal

    def _let_go(self) -> None:
        """Leave circuits alone that have no calls."""
        with self._turn:
            for view in [view for view, rounds in self._idle.items() if rounds > _IDLE_ROUNDS]:
                del self._idle[view]
                self._board.unwatch(view)
                # A call that ended in this moment may not have seen that nobody looks.
                if not view.is_settled:
                    self._calls.put(view)
