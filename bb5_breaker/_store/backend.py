"""What a store needs of the Redis behind it: one server, or a cluster of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import redis

from bb5_breaker._store.codec import ScriptCall
from bb5_breaker._store.push.post import Post
from bb5_breaker.exceptions import StoreError

if TYPE_CHECKING:
    from bb5_breaker._store.server import Server

__all__ = ["Backend", "KeyedCommand"]

# The key that a plain command is about, empty for none, and the words of the command.
KeyedCommand = tuple[bytes, tuple[Any, ...]]


class Backend(Protocol):
    """Runs scripts and plain commands where their keys are. Thread-safe.

    Nothing is sent twice, except what the server certainly did not carry out.
    """

    @property
    def address(self) -> str:
        """Where it is, without secrets."""

    def evaluate(self, call: ScriptCall) -> Any:
        """Run a script.

        Raises:
            StoreError: The server can not be reached, refused, or holds foreign data.
        """

    def evaluate_many(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run scripts in few round trips; an error takes the place of its reply.

        Raises:
            StoreError: No server can be reached.
        """

    def pipeline(self, commands: Sequence[KeyedCommand]) -> list[Any]:
        """Run plain commands in few round trips; an error takes the place of its reply.

        Raises:
            StoreError: No server can be reached.
        """

    def servers(self) -> Sequence[Server]:
        """Return the servers that are written to: one, but of a cluster every primary that has
        not failed lately.

        Raises:
            StoreError: No server can be reached.
        """

    def explain(self, fault: Exception, call: ScriptCall) -> StoreError:
        """Return our error for what took the place of a script's reply."""

    def explain_plain(self, fault: Exception, key: bytes) -> StoreError:
        """Return our error for what took the place of a plain command's reply."""

    def explain_type(self, needed: dict[bytes, str]) -> StoreError:
        """Return an error that names which of our keys holds something foreign."""

    def part_of(self, service: str) -> str:
        """Return the address of the server that serves a circuit, as far as is known.

        Empty where there is one server, or nothing is known yet. No I/O and no lock.
        """

    def client_of(self, service: str) -> redis.Redis:
        """Return a client of the server that serves a circuit.

        Raises:
            StoreError: No server can be reached.
        """

    def find_post(self) -> Post:
        """Return a server to listen on.

        Raises:
            StoreError: No server can be reached.
        """

    def close(self) -> None:
        """Close all connections; the next command makes new ones."""
