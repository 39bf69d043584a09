"""Connections of our own: short time-outs, no retries, RESP2, bytes; whatever was given.

The client that a user hands over only tells where its server is. Its retries would send a
script again behind our back, its decoding would change replies, and RESP3 with maintenance
notifications can hand one call the reply of another.
"""

from __future__ import annotations

# redis-py looks up its own version with this on the first connection. Imported then, it
# would be locked for ever in a child that another thread forks in that moment.
import email.parser  # noqa: F401
from collections.abc import Callable
from typing import Any, Final, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, parse_url
from redis.retry import Retry

from bb5_breaker._store.addresses import SENTINEL_SCHEME, join_host, mask_url
from bb5_breaker._store.connections import ConnectionStack
from bb5_breaker._store.primaries import Primary, PrimaryConnection, PrimarySSLConnection
from bb5_breaker._store.sentinel_places import (
    FORM,
    SentinelPlace,
    place_of_pool,
    read_sentinel_url,
)
from bb5_breaker._store.sentinels import Sentinel, Sentinels
from bb5_breaker._store.url_options import check_url_options, with_name_check

__all__ = ["client_from_url", "client_like", "describe_client", "make_client", "options_from_url"]

Read = TypeVar("Read")
# For plain commands and pipelines; scripts have connections of their own.
_CLIENT_CONNECTIONS: Final = 4
# To each sentinel; they are asked when a connection to the primary is made, and now and then.
_SENTINEL_CONNECTIONS: Final = 2

_DROPPED: Final = frozenset(
    {
        "cache",
        "cache_config",
        "client_name",
        "command_packer",
        "decode_responses",
        "driver_info",
        "encoding_errors",
        "event_dispatcher",
        "health_check_interval",
        "legacy_responses",
        "lib_name",
        "lib_version",
        "max_connections",
        "parser_class",
        "protocol",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "socket_connect_timeout",
        "socket_timeout",
        "timeout",
    }
)
_DROPPED_BEGINNINGS: Final = ("maint", "orig_", "oss_", "himport")


def client_from_url(url: str, timeout: float) -> redis.Redis:
    """Return a client of our own for a URL.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://``.
        timeout: Seconds for connecting and for each reply.

    Returns:
        The client; nothing is connected yet.

    Raises:
        ValueError: The URL is of no such form; the message has no secret of it.
    """
    if url.startswith(SENTINEL_SCHEME):
        place = _read(url, read_sentinel_url)
        check_url_options(url, place.options)
        return _make_led(place, timeout)
    return make_client(*options_from_url(url), timeout)


def options_from_url(url: str) -> tuple[Any, dict[str, Any]]:
    """Return the class of the connections to a URL, and what they are made with.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.

    Raises:
        ValueError: The URL is of no such form; the message has no secret of it.
    """
    options: dict[str, Any] = dict(_read(url, parse_url))
    connection_class = options.pop("connection_class", redis.Connection)
    check_url_options(url, options)
    if issubclass(connection_class, redis.SSLConnection):
        options = with_name_check(options)
    return connection_class, options


def client_like(client: object, timeout: float) -> redis.Redis:
    """Return a client of our own that talks to the same server as ``client``.

    Args:
        client: A ``redis.Redis``, decoding or not; it is not used for our calls. One of
            ``redis.sentinel.Sentinel.master_for()`` leads to the same sentinels.
        timeout: Seconds for connecting and for each reply.

    Raises:
        TypeError: It is no synchronous client of one server, or of a primary that sentinels name.
    """
    pool = getattr(client, "connection_pool", None)
    if not isinstance(client, redis.Redis) or not isinstance(pool, redis.ConnectionPool):
        raise TypeError(
            "redis must be a redis.Redis, a redis.RedisCluster or a URL, got "
            f"{type(client).__module__}.{type(client).__name__}; asyncio clients are not supported"
        )
    place = place_of_pool(pool)
    if place is not None:
        return _make_led(place, timeout)
    return make_client(pool.connection_class, dict(pool.connection_kwargs), timeout)


def make_client(connection_class: Any, options: dict[str, Any], timeout: float) -> redis.Redis:
    """Return a client of our own.

    Args:
        connection_class: Class of its connections.
        options: What they are made with; what is ours to set is left out.
        timeout: Seconds for connecting and for each reply.
    """
    kept = {
        name: value
        for name, value in options.items()
        if name not in _DROPPED and not name.startswith(_DROPPED_BEGINNINGS)
    }
    pool = BlockingConnectionPool(
        connection_class=connection_class,
        max_connections=_CLIENT_CONNECTIONS,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        decode_responses=False,
        protocol=2,
        **kept,
    )
    return redis.Redis(connection_pool=pool)


def _read(url: str, reader: Callable[[str], Read]) -> Read:
    """Return what a reader makes of a URL.

    Raises:
        ValueError: It can not be read; the message has no secret of it.
    """
    try:
        return reader(url)
    except (ValueError, TypeError):
        # The cause is dropped on purpose: it may quote the URL with its password.
        raise ValueError(
            f"{mask_url(url)} is no URL of a Redis; use redis://host:port/db, "
            "rediss://host:port/db, unix:///path/to/socket, "
            f"{FORM}, redis+cluster://host:port or embedded://"
        ) from None


def _make_led(place: SentinelPlace, timeout: float) -> redis.Redis:
    """Return a client that follows the primary that sentinels name."""
    sentinel_class = redis.SSLConnection if place.sentinels_use_tls else redis.Connection
    # Two of them, one after the other, may hang without making a call wait for longer.
    patience = timeout / 2
    sentinels = [
        Sentinel(
            join_host(options["host"], options["port"]),
            ConnectionStack(
                make_client(sentinel_class, dict(options), patience).connection_pool,
                _SENTINEL_CONNECTIONS,
                patience,
            ),
        )
        for options in place.sentinels
    ]
    primary = Primary(
        place.address, Sentinels(sentinels, place.service, patience, place.forced_host)
    )
    connection_class = PrimarySSLConnection if place.uses_tls else PrimaryConnection
    return make_client(connection_class, {**place.options, "primary": primary}, timeout)


def describe_client(client: redis.Redis) -> str:
    """Return where a client connects to, without secrets."""
    place = place_of_pool(client.connection_pool)
    if place is not None:
        return place.address
    options = client.connection_pool.connection_kwargs
    if (primary := options.get("primary")) is not None:
        return str(primary.name)
    if options.get("path"):
        return f"unix://{options['path']}"
    uses_tls = issubclass(client.connection_pool.connection_class, redis.SSLConnection)
    scheme = "rediss" if uses_tls else "redis"
    return f"{scheme}://{options.get('host', 'localhost')}:{options.get('port', 6379)}"
