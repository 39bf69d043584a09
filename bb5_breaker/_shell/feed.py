"""The connection over which a process hears of transitions, and the thread that keeps it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from bb5_breaker._shell.board import Board
from bb5_breaker._shell.listening import Listening
from bb5_breaker._store.faults import CLIENT_ERRORS, explain_fault
from bb5_breaker._store.forks import renew_in_children
from bb5_breaker._store.push.backoff import Backoff
from bb5_breaker._store.push.waker import Waker
from bb5_breaker._store.push.wire import Wire
from bb5_breaker._store.redis_store import RedisStore

__all__ = ["Feed"]

_log = logging.getLogger("bb5_breaker")
_LEAST_DELAY: Final = 0.05


class Feed:
    """One background connection of a process to one Redis, for all its circuits. Thread-safe.

    It starts with the first circuit. While it is not connected, or its heartbeat is overdue,
    calls ask Redis each time; the views know that by themselves, whatever becomes of the thread.

    Args:
        store: Where Redis is.
        board: The views to keep up to date.
        interval: Seconds between heartbeats.
        retry_interval: Longest wait between attempts to connect, in seconds.
    """

    def __init__(
        self, store: RedisStore, board: Board, interval: float, retry_interval: float
    ) -> None:
        self._store = store
        self._board = board
        self._interval = interval
        self._retry_interval = max(retry_interval, _LEAST_DELAY)
        self._wire: Wire | None = None
        self._waker: Waker | None = None
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without a thread; the parent's connection stays up."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._waker is not None:
            self._waker.close()
            self._waker = None
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._connected_at = 0.0
        self._is_down = False

    def wake(self) -> None:
        """Have the feed see to new circuits; it starts when it does not run."""
        if self._thread is None:
            self._start()
        elif self._waker is not None:
            self._waker.wake()

    def stop(self) -> None:
        """Let the thread end; does not wait."""
        self._stopped = True
        if self._waker is not None:
            self._waker.wake()

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            waker = Waker()
            thread = threading.Thread(
                target=self._run, args=(waker,), name="bb5-breaker-feed", daemon=True
            )
            try:
                self._waker, self._thread = waker, thread
                thread.start()
            except RuntimeError:
                # The process is ending and takes no more threads: calls ask.
                self._waker = self._thread = None
                waker.close()
            except BaseException:
                # A signal's handler raised. Whether the thread runs is unknown: it ends.
                self._waker = self._thread = None
                raise

    def _is_needed(self, waker: Waker) -> bool:
        return self._waker is waker and not self._stopped

    def _run(self, waker: Waker) -> None:
        backoff = Backoff(_LEAST_DELAY, self._retry_interval)
        while self._is_needed(waker):
            try:
                self._live_through_connection(waker)
            except CLIENT_ERRORS as fault:
                self._note_loss(explain_fault(fault, self._store.address).message)
            except Exception as error:
                _log.exception("the feed of views met an error that was not expected")
                self._note_loss(f"unexpected {type(error).__name__}")
            backoff.note_lifetime(time.monotonic() - self._connected_at)
            # Not to be woken: calls that ask meanwhile must not make it knock faster.
            time.sleep(backoff.next_delay())
        waker.close()

    def _live_through_connection(self, waker: Waker) -> None:
        self._connected_at = time.monotonic()
        # A read that has begun must not outlast the heartbeat.
        wire = Wire(self._store.client, self._interval, waker)
        self._wire = wire
        listening: Listening | None = None
        try:
            wire.open()
            listening = Listening(wire, self._board, self._store.rules.prefix, self._interval)
            while self._is_needed(waker):
                listening.take_turn()
                self._note_life()
        finally:
            if listening is not None:
                listening.end()
            self._wire = None
            wire.close()

    def _note_loss(self, reason: str) -> None:
        if not self._is_down:
            self._is_down = True
            # Where Redis is away, the calls that ask it tell so.
            _log.debug("%s. Until transitions are heard again each call asks Redis", reason)

    def _note_life(self) -> None:
        if self._is_down:
            self._is_down = False
            _log.debug("transitions are heard again from Redis at %s", self._store.address)
