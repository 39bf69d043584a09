"""Who this process is, in the whole fleet and in the eyes of a person."""

from __future__ import annotations

import os
import re
import secrets
import socket
from itertools import count
from typing import Final

__all__ = ["new_token", "process_owner"]

_HOST: Final = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:32] or "host"
_TOKENS: Final = count()


class _Identity:
    """Name of the running process; a child of a fork gets one of its own."""

    pid = 0
    name = ""


def process_owner() -> str:
    """Return ``host:pid:nonce`` of this process; unique even where pids repeat."""
    pid = os.getpid()
    if _Identity.pid != pid:
        _Identity.name = f"{_HOST}:{pid}:{secrets.token_hex(4)}"
        _Identity.pid = pid
    return _Identity.name


def new_token() -> str:
    """Return a name for one attempt to run a call, unique in the fleet."""
    return f"{process_owner()}#{next(_TOKENS)}"
