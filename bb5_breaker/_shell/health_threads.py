"""Threads on which health checks run; of one process, for all its circuits."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from bb5_breaker._store.forks import renew_in_children

__all__ = ["MAX_THREADS", "HealthThreads", "health_threads"]

_log = logging.getLogger("bb5_breaker")
MAX_THREADS: Final = 16
_IDLE_SECONDS: Final = 5.0


class HealthThreads:
    """Runs work on daemon threads, begun when they are needed. Thread-safe.

    A check that hangs takes up one thread; only when all of them hang do others wait.

    Args:
        most: Threads at the most.
        rest: Seconds without work after which a thread ends.
    """

    def __init__(self, most: int = MAX_THREADS, rest: float = _IDLE_SECONDS) -> None:
        self._most = most
        self._rest = rest
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without threads and work; those of a parent are not in a child."""
        self._ready = threading.Condition(threading.Lock())
        self._waiting: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0

    def run(self, work: Callable[[], None]) -> None:
        """Have work done as soon as a thread is free; does not wait."""
        with self._ready:
            self._waiting.append(work)
            if self._idle >= len(self._waiting) or self._threads >= self._most:
                self._ready.notify()
                return
            self._threads += 1
        try:
            threading.Thread(target=self._serve, name="bb5-breaker-health", daemon=True).start()
        except RuntimeError:
            # No more threads, for now or because the process ends: another may do it.
            with self._ready:
                self._threads -= 1

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except BaseException:
                _log.exception("a health check met an error that was not expected")
            del work

    def _next(self) -> Callable[[], None] | None:
        with self._ready:
            self._idle += 1
            try:
                if not self._ready.wait_for(lambda: self._waiting, timeout=self._rest):
                    self._threads -= 1
                    return None
                return self._waiting.popleft()
            finally:
                self._idle -= 1


_THREADS: Final = HealthThreads()


def health_threads() -> HealthThreads:
    """Return the threads of this process."""
    return _THREADS
