"""A server as the store sees it: scripts and plain commands, with errors that help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import redis

from bb5_breaker._store.backend import KeyedCommand
from bb5_breaker._store.codec import ScriptCall
from bb5_breaker._store.connections import ConnectionStack
from bb5_breaker._store.faults import (
    CLIENT_ERRORS,
    explain_fault,
    is_missing_script,
    is_wrong_type,
)
from bb5_breaker._store.push.post import Post
from bb5_breaker._store.versions import check_version
from bb5_breaker.exceptions import StoreDataError, StoreError, StorePermissionError

__all__ = ["MAX_CONNECTIONS", "Server"]

MAX_CONNECTIONS: Final = 16
_KEY_TYPES: Final = ("hash", "zset", "zset", "string", "stream", "string")


class Server:
    """Runs scripts over short-cut connections and plain commands over a client. Thread-safe.

    Args:
        client: A client as :mod:`bb5_breaker._store.clients` makes it.
        address: Where the server is, without secrets.
    """

    def __init__(self, client: redis.Redis, address: str) -> None:
        self.client = client
        self.address = address
        pool = client.connection_pool
        timeout = pool.connection_kwargs.get("socket_timeout") or 1.0
        self._connections = ConnectionStack(pool, MAX_CONNECTIONS, timeout)
        self._version_known = False

    def evaluate(self, call: ScriptCall) -> Any:
        """Run a script in one round trip; in two when the server does not know it.

        Raises:
            StoreError: The server can not be reached, refused, or holds foreign data.
        """
        if not self._version_known:
            self._check_version()
        try:
            return self._connections.ask(call.request)
        except CLIENT_ERRORS as fault:
            if not is_missing_script(fault):
                raise self.explain(fault, call) from fault
        return self._evaluate_source(call)

    def evaluate_many(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run scripts in one round trip; an error takes the place of its reply.

        Raises:
            StoreError: The server can not be reached.
        """
        self._check_version()
        try:
            return self._connections.ask_many([call.request for call in calls])
        except CLIENT_ERRORS as fault:
            raise explain_fault(fault, self.address) from fault

    def command(self, *words: Any) -> Any:
        """Run a plain command.

        Raises:
            StoreError: The server can not be reached or refused.
        """
        self._check_version()
        try:
            return self.client.execute_command(*words)
        except CLIENT_ERRORS as fault:
            raise explain_fault(fault, self.address) from fault

    def pipeline(self, commands: Sequence[KeyedCommand]) -> list[Any]:
        """Run plain commands in one round trip; an error takes the place of its reply.

        Raises:
            StoreError: The server can not be reached.
        """
        self._check_version()
        pipeline = self.client.pipeline(transaction=False)
        for _, words in commands:
            pipeline.execute_command(*words)
        try:
            return list(pipeline.execute(raise_on_error=False))
        except CLIENT_ERRORS as fault:
            raise explain_fault(fault, self.address) from fault

    def servers(self) -> Sequence[Server]:
        """Return this one."""
        return [self]

    def part_of(self, service: str) -> str:
        """Return the empty string: one server serves all circuits."""
        return ""

    def client_of(self, service: str) -> redis.Redis:
        """Return the client of the one server."""
        return self.client

    def find_post(self) -> Post:
        """Return the server to listen on."""
        return Post(self.client, self.address)

    def explain(self, fault: Exception, call: ScriptCall) -> StoreError:
        """Return our error for what the server answered to a script."""
        if is_wrong_type(fault):
            return self.explain_type(dict(zip(call.keys, _KEY_TYPES, strict=False)))
        return explain_fault(fault, self.address, call.script, call.keys[0])

    def explain_plain(self, fault: Exception, key: bytes) -> StoreError:
        """Return our error for what the server answered to a plain command on a key."""
        return explain_fault(fault, self.address, key=key)

    def explain_type(self, needed: dict[bytes, str]) -> StoreError:
        """Return an error that names which of our keys holds something foreign."""
        wrong = [
            f"{key.decode(errors='replace')} holds a {kind}, not a {need}"
            for key, need in needed.items()
            if (kind := self._type_of(key)) not in (need, "none")
        ]
        found = "; ".join(wrong) or "a key changed its type meanwhile"
        return StoreDataError(
            f"Redis at {self.address}: {found}. Something else wrote under the breaker's names: "
            "rename or delete that key, or choose another prefix with bb5_breaker.configure()"
        )

    def close(self) -> None:
        """Close all connections; the next command makes new ones."""
        self._connections.close()
        self.client.connection_pool.disconnect()

    def _evaluate_source(self, call: ScriptCall) -> Any:
        # EVAL leaves no gap for a SCRIPT FLUSH; a user with least rights may lack it.
        try:
            return self._connections.ask(call.request_with_source)
        except CLIENT_ERRORS as fault:
            refusal = self.explain(fault, call)
            if not isinstance(refusal, StorePermissionError):
                raise refusal from fault
        try:
            self.command("SCRIPT LOAD", call.script.source)
        except StorePermissionError:
            # What the script may not do stands in the way, not how it was sent.
            raise refusal from None
        try:
            return self._connections.ask(call.request)
        except CLIENT_ERRORS as fault:
            raise self.explain(fault, call) from fault

    def _type_of(self, key: bytes) -> str:
        kind = self.command("TYPE", key)
        return kind.decode() if isinstance(kind, bytes) else str(kind)

    def _check_version(self) -> None:
        if not self._version_known:
            check_version(self.client, self.address)
            self._version_known = True
