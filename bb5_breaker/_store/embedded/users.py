"""Which embedded servers this process uses: one shared lock for each, until it ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NamedTuple

from bb5_breaker._store.embedded.locks import take_shared
from bb5_breaker._store.embedded.supervisor.contract import USERS_LOCK
from bb5_breaker._store.embedded.supervisor.flocks import is_current


class _Use(NamedTuple):
    descriptor: int
    inode: tuple[int, int]

    def is_open(self) -> bool:
        """Tell whether the descriptor is still ours: a program may close all it finds open."""
        try:
            return _inode(self.descriptor) == self.inode
        except OSError:
            return False


_uses: dict[Path, _Use] = {}
_guard = threading.Lock()


def register(directory: Path, deadline: float) -> None:
    """Make this process a user of a directory's server; nothing happens when it is one.

    Raises:
        EmbeddedServerError: A supervisor that is ending did not let go until the deadline.
    """
    if is_registered(directory):
        return
    descriptor = take_shared(directory / USERS_LOCK, deadline)
    with _guard:
        stale = _uses.get(directory)
        _uses[directory] = _Use(descriptor, _inode(descriptor))
    _close(stale)


def is_registered(directory: Path) -> bool:
    """Return whether this process holds the lock, on the file that is there now."""
    use = _uses.get(directory)
    return use is not None and use.is_open() and is_current(use.descriptor, directory / USERS_LOCK)


def unregister(directory: Path) -> None:
    """Make this process no user any more; nothing happens when it is none.

    The file is closed and not unlocked, because a forked child shares it and stays a user.
    """
    with _guard:
        use = _uses.pop(directory, None)
    _close(use)


def _close(use: _Use | None) -> None:
    if use is not None and use.is_open():
        os.close(use.descriptor)


def _inode(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _renew_guard() -> None:
    # Another thread may have held it at the fork, and does not exist in the child.
    global _guard
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_guard)
