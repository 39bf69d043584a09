"""File locks by flock: they last as long as an open file that was locked, whatever dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bb5_breaker._store.embedded.supervisor.flocks import is_current, open_lock, try_lock
from bb5_breaker.exceptions import EmbeddedServerError

if sys.platform != "win32":
    import fcntl

PAUSE_SECONDS = 0.005

_open_briefly: set[int] = set()


def take_shared(path: Path, deadline: float) -> int:
    """Return an open file that holds a shared lock on a path, waiting until a deadline.

    Args:
        path: The lock file; made when missing.
        deadline: Last moment to wait for, on ``time.monotonic``.

    Raises:
        EmbeddedServerError: Another process kept the lock for itself until the deadline.
    """
    while True:
        descriptor = open_lock(path)
        if try_lock(descriptor, fcntl.LOCK_SH) and is_current(descriptor, path):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"the embedded server of {path.parent} is ending and does not get done: its "
                f"supervisor keeps {path.name} locked; try again, or end the supervisor (its "
                "process id is in supervisor.lock in that directory)"
            )
        time.sleep(PAUSE_SECONDS)


@contextmanager
def try_exclusive(path: Path) -> Iterator[bool]:
    """Hold a lock alone for a block, if nobody else has it; say whether it is held."""
    with _opened(path) as descriptor:
        yield try_lock(descriptor, fcntl.LOCK_EX) and is_current(descriptor, path)


def is_shared(path: Path) -> bool:
    """Return whether others share the lock of a path; False when free, or held by one alone."""
    with _opened(path) as descriptor:
        if try_lock(descriptor, fcntl.LOCK_EX):
            return False
        return try_lock(descriptor, fcntl.LOCK_SH)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = open_lock(path)
    _open_briefly.add(descriptor)
    try:
        yield descriptor
    finally:
        # A child forked meanwhile may share this open file: closing ours alone would leave
        # the lock with it.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        _open_briefly.discard(descriptor)
        os.close(descriptor)


def _close_in_child() -> None:
    # A lock that another thread held at the fork is not the child's: without this, it would
    # outlast a parent that is killed before it lets go.
    while _open_briefly:
        os.close(_open_briefly.pop())


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_close_in_child)
