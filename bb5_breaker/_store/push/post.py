"""The server on which a process listens for what is published."""

from __future__ import annotations

import redis

__all__ = ["Post"]


class Post:
    """One server, asked for each connection anew: where there are several, it may be another.

    Args:
        client: A client of that server as :mod:`bb5_breaker._store.clients` makes it.
        address: Where it is, without secrets.
    """

    def __init__(self, client: redis.Redis, address: str) -> None:
        self.client = client
        self.address = address

    def inspect(self) -> None:
        """Look whether all that is published still comes here; for each turn of a connection.

        A single server hears itself for as long as it answers: here there is nothing to look at.

        Raises:
            RedisError: It does not; the connection is to be made anew, to another server.
        """

    def note_loss(self) -> None:
        """The connection was lost, or could not be made."""
