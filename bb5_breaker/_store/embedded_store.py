"""A store on the embedded server, brought up again when it went away."""

from __future__ import annotations

import os

from bb5_breaker._core.commands import Command
from bb5_breaker._core.policy import StoreRules
from bb5_breaker._core.replies import Reply
from bb5_breaker._store import embedded
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.exceptions import StoreUnavailableError

__all__ = ["EmbeddedStore"]


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
        if self._user_pid != os.getpid():
            # A child of a fork must count as a user itself, or the server could
            # end while it lives.
            embedded.acquire()
            self._user_pid = os.getpid()
        try:
            return super().run(command)
        except StoreUnavailableError:
            embedded.acquire()
            raise
