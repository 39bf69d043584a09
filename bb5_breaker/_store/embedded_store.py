"""A store on the embedded server, brought up again when it went away."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from bb5_breaker._core.commands import Command
from bb5_breaker._core.policy import StoreRules
from bb5_breaker._core.replies import Reply
from bb5_breaker._store import embedded
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.senders import Sender
from bb5_breaker.exceptions import StoreError, StoreUnavailableError

__all__ = ["EmbeddedStore"]

T = TypeVar("T")


class EmbeddedStore(RedisStore):
    """Circuits on the embedded server of this user and machine. Thread-safe.

    Args:
        rules: Rules of the store.
        timeout: Seconds for connecting and for each reply.
    """

    def __init__(self, rules: StoreRules, timeout: float) -> None:
        server = embedded.acquire()
        super().__init__(client_from_url(server.url, timeout), rules, server.url)
        self._user_pid = os.getpid()

    def run(self, command: Command) -> Reply:
        """Carry out one command; a server that died is started for the next one."""
        return self._use(lambda: super(EmbeddedStore, self).run(command))

    def run_many(
        self,
        commands: Sequence[Command],
        sender: Sender | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[Reply | StoreError]:
        """Carry out commands; a server that died is started for the next ones."""
        return self._use(lambda: super(EmbeddedStore, self).run_many(commands, sender, numbers))

    def list_services(self) -> list[str]:
        """Return the ids of the circuits; a server that died is started for the next time."""
        return self._use(super().list_services)

    def read_plain(self, reads: Sequence[tuple[Any, ...]], key_type: str) -> list[Any | StoreError]:
        """Read; a server that died is started for the next time."""
        return self._use(lambda: super(EmbeddedStore, self).read_plain(reads, key_type))

    def _use(self, work: Callable[[], T]) -> T:
        if self._user_pid != os.getpid():
            # A child of a fork must count as a user itself, or the server could
            # end while it lives.
            embedded.acquire()
            self._user_pid = os.getpid()
        try:
            return work()
        except StoreUnavailableError:
            embedded.acquire()
            raise
