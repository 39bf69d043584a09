"""Where Redis comes from: what was configured, the environment, the embedded server, or none."""

from __future__ import annotations

import logging
import os
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import redis

from bb5_breaker._core.policy import StoreRules
from bb5_breaker._store.forks import ForkSafeLock
from bb5_breaker._store.importing import IMPORTING
from bb5_breaker._store.interface import Store
from bb5_breaker._store.private_store import PrivateStore
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.targets import Given, open_client
from bb5_breaker.exceptions import EmbeddedServerError

__all__ = ["URL_VARIABLE", "Target", "open_store"]

_log = logging.getLogger("bb5_breaker")
URL_VARIABLE: Final = "BB5_REDIS_URL"
Target = redis.Redis | redis.RedisCluster | str | None


class _Place(NamedTuple):
    """What makes two stores the same."""

    target: str | int
    rules: StoreRules
    timeout: float


_open: WeakValueDictionary[_Place, Store] = WeakValueDictionary()
_lock = ForkSafeLock()
_warned = False


def open_store(target: Target, rules: StoreRules, timeout: float) -> Store:
    """Return the store for a target; the same one for the same target.

    Args:
        target: A client or a URL; None takes the URL in ``BB5_REDIS_URL``, else the embedded
            server, else a store private to this process, with one warning.
        rules: Rules of the store.
        timeout: Seconds for connecting and for each reply.

    Returns:
        The store; a Redis is not connected before its first command.

    Raises:
        ValueError: The URL is malformed.
        TypeError: The client is of an unsupported kind.
    """
    wanted = target if target is not None else os.environ.get(URL_VARIABLE) or _default_target()
    place = _Place(wanted if isinstance(wanted, str) else id(wanted), rules, timeout)
    with _lock.lock:
        store = _open.get(place)
        if store is None:
            store = _open[place] = _make(wanted, rules, timeout)
        return store


def _default_target() -> str:
    with IMPORTING:
        from bb5_breaker._store import embedded
    return "embedded://" if embedded.is_available() else "private://"


def _make(target: Given | str, rules: StoreRules, timeout: float) -> Store:
    if not isinstance(target, str):
        client, address = open_client(target, timeout)
        store = RedisStore(client, rules, address)
        # The id of the given client names this store: it must not be used again.
        store.origin = target
        return store
    if target == "private://":
        _warn_private()
        return PrivateStore()
    if target.startswith("embedded://"):
        return _start_embedded(rules, timeout)
    client, address = open_client(target, timeout)
    return RedisStore(client, rules, address)


def _start_embedded(rules: StoreRules, timeout: float) -> Store:
    with IMPORTING:
        from bb5_breaker._store.embedded_store import EmbeddedStore
    try:
        return EmbeddedStore(rules, timeout)
    except EmbeddedServerError as error:
        _log.error("%s. Until then every circuit is private to this process", error.message)
        return PrivateStore()


def _warn_private() -> None:
    global _warned
    if not _warned:
        _warned = True
        _log.warning(
            "no Redis is configured and the embedded server is not installed: every circuit is "
            "private to this process. Set %s, call bb5_breaker.configure(url=...), or install "
            "'bb5-breaker[embedded]'",
            URL_VARIABLE,
        )
