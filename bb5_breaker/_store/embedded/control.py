"""Talking to the supervisor through its FIFO.

A FIFO opens for writing only while a process has it open for reading. So a request reaches the
supervisor of this directory or nobody, where a signal to a noted process id could hit a stranger.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bb5_breaker._store.embedded.supervisor.contract import CONTROL, SUPERVISOR_LOCK


def send_request(directory: Path, request: bytes) -> bool:
    """Send a request to the supervisor; return False when there is none."""
    try:
        descriptor = os.open(directory / CONTROL, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return False
        os.write(descriptor, request)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def is_supervised(directory: Path) -> bool:
    """Return whether the supervisor of a directory is alive."""
    return send_request(directory, b"")


def supervisor_pid(directory: Path) -> int | None:
    """Return the process id that the supervisor has noted; None when there is no supervisor."""
    if not is_supervised(directory):
        return None
    try:
        return int((directory / SUPERVISOR_LOCK).read_bytes())
    except (OSError, ValueError):
        return None
