"""What the shells need of a store, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bb5_breaker._core.commands import Command
from bb5_breaker._core.replies import Reply
from bb5_breaker._store.senders import Sender, Unsure
from bb5_breaker.exceptions import StoreError

__all__ = ["Store"]


class Store(Protocol):
    """A place that keeps circuits and decides commands, one at a time and atomically.

    All methods are thread-safe; each raises a :class:`~bb5_breaker.exceptions.StoreError` when
    the store can not do it.
    """

    @property
    def address(self) -> str:
        """Where the store is, without secrets."""

    @property
    def shared(self) -> bool:
        """True when other processes see the same circuits."""

    def run(self, command: Command) -> Reply:
        """Carry out one command."""

    def run_many(
        self,
        commands: Sequence[Command],
        sender: Sender | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[Reply | StoreError]:
        """Carry out commands in few round trips; replies, or errors of single ones, in order.

        The same commands given again with an equal sender and the same numbers count once. None
        takes a fresh sender, or the numbers that follow its present one.
        """

    def take_unsure(self) -> list[Unsure]:
        """Return the reports of calls that perhaps did not arrive, to be sent again once."""

    def part_of(self, service: str) -> str:
        """Return a name for what can fail with a circuit, apart from the rest of the store.

        The address of the node that serves it now; empty for a store of one part, and while
        nothing is known. It costs a look into a table: no I/O and no lock.
        """

    def list_services(self) -> list[str]:
        """Return the ids of all known services, sorted."""

    def drop_service(self, service: str) -> None:
        """Take a service out of the list."""

    def close(self) -> None:
        """Let go of connections; the store may be used again."""
