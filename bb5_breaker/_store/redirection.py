"""What a node of a cluster answers when another one serves the key."""

from __future__ import annotations

from typing import NamedTuple

from redis.exceptions import AskError, MovedError

from bb5_breaker.exceptions import StoreError

__all__ = ["RedirectedError", "Redirection", "read_redirection"]


class Redirection(NamedTuple):
    """Where to go instead; what was asked has not been done.

    Args:
        slot: The slot of the key.
        host: Host of the other node; empty for the host that answered.
        port: Its port.
        is_lasting: True when the slot is served there from now on (MOVED), False when only this
            request belongs there, as the slot is being moved (ASK).
    """

    slot: int
    host: str
    port: int
    is_lasting: bool


class RedirectedError(StoreError):
    """A node of a cluster that does not serve the key."""

    def __init__(self, message: str, redirection: Redirection) -> None:
        super().__init__(message)
        self.redirection = redirection


def read_redirection(fault: object) -> Redirection | None:
    """Return where an answer sends us; None when it is something else."""
    # MovedError is an AskError, too.
    if not isinstance(fault, AskError):
        return None
    return Redirection(fault.slot_id, fault.host, fault.port, isinstance(fault, MovedError))
