"""The least that a call on another thread costs: handing it over and waiting for its end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

__all__ = ["BareHandOver", "one_cpu"]


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one CPU, where the system can do that.

    Whether the scheduler has two threads take turns on one CPU or wakes another changes a
    hand-over threefold, for seconds at a time: far more than what is compared.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class BareHandOver:
    """One waiting thread and two raw locks, nothing else: no deadline, no error, no context."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._result: Any = None
        self._wake = threading.Lock()
        self._done = threading.Lock()
        self._wake.acquire()
        self._done.acquire()
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        self._wake.release()
        self._thread.join()

    def call(self) -> Any:
        """Have the work done on the thread and return its result."""
        self._wake.release()
        self._done.acquire()
        return self._result

    def _serve(self) -> None:
        while True:
            self._wake.acquire()
            if self._ended:
                return
            self._result = self._work()
            self._done.release()
