"""What is reported when a process ends in an orderly way."""

from __future__ import annotations

import atexit
import os
import sys
import time
from contextlib import suppress
from typing import Any, Final, Protocol
from weakref import WeakSet

from bb5_breaker.exceptions import StoreError

__all__ = ["flush_at_exit"]

_LONGEST_SECONDS: Final = 1.0
# Children of these end without Python's own exit functions; they keep lists of their own, which
# they empty at their start.
_POOL_MAKERS: Final = ("multiprocessing.util", "billiard.util")


class Flushable(Protocol):
    """Something that holds outcomes back."""

    def finish(self, seconds: float) -> None:
        """Report all of them, or give up after that time."""


_alive: WeakSet[Flushable] = WeakSet()
# Our entries in those lists, and the process that made them.
_listed: dict[str, tuple[int, Any]] = {}


def flush_at_exit(thing: Flushable) -> None:
    """Have ``thing.finish()`` called when this process ends, while it lives.

    Called again in a child of multiprocessing or billiard (Celery), so that it holds there.
    """
    _alive.add(thing)
    for name in _POOL_MAKERS:
        module: Any = sys.modules.get(name)
        if module is not None and not _is_listed(name):
            _listed[name] = os.getpid(), module.Finalize(None, _flush_all, exitpriority=0)


def _is_listed(name: str) -> bool:
    pid, entry = _listed.get(name, (0, None))
    return pid == os.getpid() and entry.still_active()


def _flush_all() -> None:
    # A dead store must not hold up the exit.
    until = time.monotonic() + _LONGEST_SECONDS
    for thing in list(_alive):
        if (left := until - time.monotonic()) > 0:
            with suppress(StoreError):
                thing.finish(left)


atexit.register(_flush_all)
