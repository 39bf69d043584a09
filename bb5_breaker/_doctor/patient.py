"""The server that is examined: asked with plain commands that change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import redis
from redis import exceptions as failures

from bb5_breaker._core.policy import StoreRules
from bb5_breaker._store.faults import CLIENT_ERRORS, explain_fault
from bb5_breaker._store.packing import pack_words
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.shell_commands import client_words
from bb5_breaker.exceptions import StoreError

__all__ = ["Patient"]


class Patient:
    """A server, and the fleet's place on it. For one thread.

    Args:
        store: Where the circuits are.
        store_timeout: Seconds that the fleet's processes wait for a reply.
    """

    def __init__(self, store: RedisStore, store_timeout: float) -> None:
        self.store = store
        self.store_timeout = store_timeout

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        return self.store.address

    @property
    def is_cluster(self) -> bool:
        """True when it was named as a Cluster: then one of its primaries is examined."""
        return not isinstance(self.store.client, redis.Redis)

    @property
    def rules(self) -> StoreRules:
        """Rules of the store."""
        return self.store.rules

    @property
    def database(self) -> int:
        """Number of the database."""
        return int(self._options.get("db") or 0)

    @property
    def user(self) -> str:
        """Name of the user in the URL."""
        return str(self._options.get("username") or "default")

    @property
    def shell(self) -> list[str]:
        """How ``redis-cli`` is called for it by somebody who may more than this user."""
        words = client_words(self._client)
        if "--user" in words:
            at = words.index("--user")
            del words[at : at + 2]
        return words

    @cached_property
    def info(self) -> dict[str, str]:
        """What ``INFO`` tells, by name.

        Raises:
            StoreError: It tells nothing to this user.
        """
        return self._fields(self.ask(b"INFO"))

    @cached_property
    def command_stats(self) -> dict[str, str]:
        """What ``INFO commandstats`` tells, by name.

        Raises:
            StoreError: It tells nothing to this user.
        """
        return self._fields(self.ask(b"INFO", "commandstats"))

    def knock(self) -> None:
        """Connect, and have the server answer whatever it likes.

        Raises:
            StoreError: It does not, or refused the name or password.
        """
        client = self._client
        try:
            client.execute_command(b"PING")
        except failures.ResponseError:
            # No right to do that, or no service now: the checks will say.
            return
        except CLIENT_ERRORS as fault:
            raise explain_fault(fault, self.address) from fault

    def ask(self, *words: Any) -> Any:
        """Send a command whose name is in bytes, so that its reply is left as it came.

        Raises:
            StoreError: The server can not be reached or refused.
        """
        client = self._client
        try:
            return client.execute_command(*words)
        except CLIENT_ERRORS as fault:
            raise explain_fault(fault, self.address) from fault

    def setting(self, name: str) -> str | None:
        """Return a setting of the server; None when it has none of that name.

        Raises:
            StoreError: It is not told to this user.
        """
        reply = self.ask(b"CONFIG", "GET", name)
        return _text(reply[1]) if reply else None

    def setting_or(self, name: str, otherwise: str) -> str:
        """Return a setting of the server; something else where it is not told."""
        try:
            value = self.setting(name)
        except StoreError:
            return otherwise
        return otherwise if value is None else value

    def try_all(self, commands: Sequence[Sequence[str]]) -> list[str]:
        """Find out which commands this user may run, without running any.

        They are queued in a transaction, where rights are looked at, and the connection is closed
        instead of carrying them out.

        Returns:
            In the order of the commands, the server's words when it refuses one; else nothing.

        Raises:
            StoreError: The server can not be reached, or this user has no right to run MULTI.
        """
        pool = self._client.connection_pool
        connection: Any = pool.connection_class(**pool.connection_kwargs)
        try:
            connection.connect()
            # Nothing may follow before this is confirmed: it would be carried out.
            connection.send_packed_command([pack_words(b"MULTI")], check_health=False)
            connection.read_response()
            queued = b"".join(pack_words(*words) for words in commands)
            connection.send_packed_command([queued], check_health=False)
            return [_refusal(connection) for _ in commands]
        except CLIENT_ERRORS as fault:
            raise explain_fault(fault, self.address) from fault
        finally:
            connection.disconnect()

    @cached_property
    def _client(self) -> redis.Redis:
        return self.store.servers()[0].client

    @property
    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = self._client.connection_pool.connection_kwargs
        return options

    @staticmethod
    def _fields(reply: Any) -> dict[str, str]:
        pairs = (line.partition(":") for line in _text(reply).splitlines())
        return {name: value for name, colon, value in pairs if colon}


def _refusal(connection: Any) -> str:
    try:
        connection.read_response()
    except failures.NoPermissionError as error:
        return str(error)
    except failures.ResponseError as error:
        return str(error) if "NOPERM" in str(error) else ""
    return ""


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
