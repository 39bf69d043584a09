"""Who this process is, in the whole fleet and in the eyes of a person."""

from __future__ import annotations

import os
import re
import secrets
import socket
from itertools import count
from typing import Final

from bb5_breaker._store.forks import renew_in_children

__all__ = ["new_token", "process_owner"]

_HOST: Final = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:32] or "host"
_TOKENS: Final = count()


class _Identity:
    """The name of the running process; a child of a fork gets one of its own."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Take a new name."""
        self.name = f"{_HOST}:{os.getpid()}:{secrets.token_hex(4)}"


_IDENTITY: Final = _Identity()


def process_owner() -> str:
    """Return ``host:pid:nonce`` of this process; unique even where pids repeat."""
    return _IDENTITY.name


def new_token() -> str:
    """Return a name for one attempt to run a call, unique in the fleet."""
    return f"{process_owner()}#{next(_TOKENS)}"
