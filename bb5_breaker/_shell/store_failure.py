"""What a call gets while its store does not answer."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, Final

from bb5_breaker._core.commands import Command
from bb5_breaker._core.replies import CircuitView, Verdict, bare_view
from bb5_breaker._store.private_store import PRIVATE
from bb5_breaker.checks import check_choice
from bb5_breaker.state import CircuitState

if TYPE_CHECKING:
    from bb5_breaker._shell.link import Link

__all__ = ["OnStoreFailure"]

# Of no stand-in: its outcome is owed to the store.
_UNGUARDED: Final = f"{PRIVATE}unguarded"


class OnStoreFailure(Enum):
    """Who decides meanwhile; see :func:`~bb5_breaker.configure`."""

    LOCAL = "local"
    OPEN = "open"
    CLOSED = "closed"
    RAISE = "raise"

    @staticmethod
    def named(name: object) -> OnStoreFailure:
        """Return the one of that name.

        Raises:
            ValueError: There is none.
        """
        return check_choice("on_store_failure", name, OnStoreFailure)

    def admit(self, link: Link, command: Command) -> CircuitView:
        """Ask whether a call may run.

        Raises:
            StoreError: The store does not answer, and the rule is to raise.
        """
        if self is OnStoreFailure.LOCAL:
            return link.view(command)
        told = link.attempt(command)
        if isinstance(told, CircuitView):
            return told
        service = command.circuit.service
        error = link.error_of(service)
        if self is OnStoreFailure.RAISE:
            # Another object each time: one that is raised again and again gathers tracebacks.
            raise type(error)(error.message)
        now_ms = int(time.time() * 1000)
        if self is OnStoreFailure.CLOSED:
            return bare_view(Verdict.ALLOW, now_ms, epoch=_UNGUARDED)
        until_ms = now_ms + int(link.trouble.seconds_to_attempt(service) * 1000)
        return bare_view(
            Verdict.REJECT,
            now_ms,
            CircuitState.OPEN,
            until_ms=until_ms,
            error=type(error).__name__,
        )
