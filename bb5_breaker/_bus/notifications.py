"""The server's own word that an open period is over: the expiry of the cooldown key.

It comes late, or not at all, when nobody touches the key; whoever knows the deadline does so.
To those who do not know it, the notification is the signal.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

import redis

from bb5_breaker._store.push.frames import Channel, Message
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.server import Server
from bb5_breaker.exceptions import StoreError
from bb5_breaker.service_id import check_service_id

__all__ = ["SETTING", "Notifications", "expiry_pattern", "merge_flags"]

_log = logging.getLogger("bb5_breaker")
SETTING: Final = "notify-keyspace-events"
_EXPIRED: Final = b"expired"


def merge_flags(present: str) -> str:
    """Return the flags that are set, with those that are needed and missing.

    Args:
        present: Value of ``notify-keyspace-events``.
    """
    needed = ["K"]
    if "A" not in present:
        needed.append("x")
    return present + "".join(flag for flag in needed if flag not in present)


def expiry_pattern(prefix: str, database: int) -> str:
    """Return the pattern of the channels on which a server tells of cooldown keys."""
    return f"__keyspace@{database}__:{prefix}:{{*}}:cooldown"


class Notifications:
    """Expiries of the cooldown keys of one store's circuits. For the feed's thread.

    Args:
        store: Where the circuits are.
        may_configure: Whether the server's setting may be changed.
    """

    def __init__(self, store: RedisStore, may_configure: bool) -> None:
        self._store = store
        self._may_configure = may_configure
        pattern = expiry_pattern(store.rules.prefix, _database_of(store))
        self.channel: Final = Channel(pattern.encode(), True)
        before, after = map(re.escape, pattern.split("*"))
        self._form = re.compile(f"{before}(.*){after}".encode(), re.DOTALL)
        self._was_refused = False

    def enable(self) -> None:
        """Have the server send them, in addition to what it sends already.

        Where it refuses nothing is lost: processes end open periods by the time they know.
        """
        if not self._may_configure:
            return
        try:
            # In a Cluster each primary tells of its own keys.
            for server in self._store.servers():
                _enable_on(server)
        except StoreError as error:
            self.note_refusal(error.message)

    def service_of(self, message: Message) -> str | None:
        """Return the circuit whose open period is over by a message.

        None when it says something else.
        """
        found = self._form.fullmatch(message.channel)
        if found is None or message.payload != _EXPIRED:
            return None
        try:
            return check_service_id(found[1].decode())
        except ValueError:
            return None

    def note_refusal(self, reason: str) -> None:
        """The server does not send them to this user."""
        if not self._was_refused:
            self._was_refused = True
            _log.info("%s. Open periods are ended by the clocks of processes instead", reason)


def _enable_on(server: Server) -> None:
    present = _value_of(server.command("CONFIG", "GET", SETTING))
    flags = merge_flags(present)
    if flags != present:
        server.command("CONFIG", "SET", SETTING, flags)
        _log.info("set %s of Redis at %s to %r", SETTING, server.address, flags)


def _database_of(store: RedisStore) -> int:
    # A Cluster has no other.
    client = store.client
    if not isinstance(client, redis.Redis):
        return 0
    return client.connection_pool.connection_kwargs.get("db") or 0


def _value_of(reply: Any) -> str:
    values = list(reply.values()) if isinstance(reply, dict) else list(reply)[1:]
    value = values[0] if values else b""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
