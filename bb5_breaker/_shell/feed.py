"""The connection over which a process hears of transitions, and the thread that keeps it."""

from __future__ import annotations

import logging
import time
from typing import Final

from bb5_breaker._shell.board import Board
from bb5_breaker._shell.listening import Listening
from bb5_breaker._store.background import Background
from bb5_breaker._store.faults import CLIENT_ERRORS, explain_fault
from bb5_breaker._store.forks import renew_in_children
from bb5_breaker._store.push.backoff import Backoff
from bb5_breaker._store.push.waker import Waker
from bb5_breaker._store.push.wire import Wire
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.exceptions import StoreError

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
        self._thread = Background("bb5-breaker-feed")
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
        self._thread.forget()
        self._stopped = False
        self._connected_at = 0.0
        self._is_down = False

    def wake(self) -> None:
        """Have the feed see to new circuits; it starts when it does not run."""
        waker = self._waker
        if not self._thread.is_running:
            self._thread.start(self._run)
        elif waker is not None:
            waker.wake()

    def stop(self) -> None:
        """Let the thread end; does not wait."""
        self._stopped = True
        waker = self._waker
        if waker is not None:
            waker.wake()

    def _is_needed(self) -> bool:
        return self._thread.is_current and not self._stopped

    def _run(self) -> None:
        backoff = Backoff(_LEAST_DELAY, self._retry_interval)
        while self._is_needed():
            try:
                self._live_through_connection()
            except StoreError as error:
                self._note_loss(error.message)
            except CLIENT_ERRORS as fault:
                self._note_loss(explain_fault(fault, self._store.address).message)
            except Exception as error:
                _log.exception("the feed of views met an error that was not expected")
                self._note_loss(f"unexpected {type(error).__name__}")
            backoff.note_lifetime(time.monotonic() - self._connected_at)
            # Not to be woken: calls that ask meanwhile must not make it knock faster.
            time.sleep(backoff.next_delay())

    def _live_through_connection(self) -> None:
        self._connected_at = time.monotonic()
        post = self._store.find_post()
        # Before the board is looked at: what is wanted later finds the waker.
        waker = self._waker = Waker()
        # A read that has begun must not outlast the heartbeat.
        wire = Wire(post.client, self._interval, waker)
        self._wire = wire
        listening: Listening | None = None
        try:
            wire.open()
            listening = Listening(wire, self._board, self._store.rules.prefix, self._interval)
            while self._is_needed():
                listening.take_turn()
                post.inspect()
                self._note_life()
        except CLIENT_ERRORS:
            post.note_loss()
            raise
        finally:
            if listening is not None:
                listening.end()
            if self._waker is waker:
                self._wire = self._waker = None
            wire.close()
            waker.close()

    def _note_loss(self, reason: str) -> None:
        if not self._is_down:
            self._is_down = True
            # Where Redis is away, the calls that ask it tell so.
            _log.debug("%s. Until transitions are heard again each call asks Redis", reason)

    def _note_life(self) -> None:
        if self._is_down:
            self._is_down = False
            _log.debug("transitions are heard again from Redis at %s", self._store.address)
