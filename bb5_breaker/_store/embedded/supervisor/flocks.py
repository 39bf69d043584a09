"""The system calls behind the file locks."""

from __future__ import annotations

import os
import sys

if sys.platform != "win32":
    import fcntl


def open_lock(path: str | os.PathLike[str]) -> int:
    """Open a lock file, made when it is missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def try_lock(descriptor: int, kind: int) -> bool:
    """Lock an open file without waiting (kind: of ``fcntl``); return whether it is locked."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_current(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Return whether an open file is the one found under a path now.

    A lock on a file that was removed, or replaced, excludes nobody who comes later.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def wait_until_alone(path: str) -> int | None:
    """Wait for a lock that nobody shares; return None when its directory was removed."""
    while True:
        try:
            descriptor = open_lock(path)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if is_current(descriptor, path):
            return descriptor
        os.close(descriptor)


def note_pid(descriptor: int) -> None:
    """Write the id of this process into a lock file, for people to read."""
    text = f"{os.getpid()}\n".encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))
