"""Which sentinels to ask for which primary: read from a URL, or from a user's client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from redis.connection import ConnectionPool, SSLConnection, parse_url
from redis.sentinel import SentinelConnectionPool

from bb5_breaker._store.addresses import SENTINEL_SCHEME, join_host, split_hosts
from bb5_breaker._store.url_options import with_name_check

__all__ = ["FORM", "SentinelPlace", "place_of_pool", "read_sentinel_url"]

_PORT: Final = 26379
FORM: Final = "redis+sentinel://host:port,host:port/name-of-the-primary/db"
# What a URL of one server may say, and would lead past the sentinels.
_OF_ONE_SERVER: Final = frozenset({"path", "port"})


@dataclass(frozen=True, slots=True)
class SentinelPlace:
    """Sentinels, the primary that they look after, and how to connect to either.

    Args:
        sentinels: Options of redis-py for a connection to each sentinel.
        service: Name under which they know the primary.
        options: Options of redis-py for a connection to the primary, but for its address.
        uses_tls: True when connections to the primary use TLS.
        sentinels_use_tls: True when those to the sentinels do.
        forced_host: Host at which the primary is reached whatever they say; None believes them.
    """

    sentinels: tuple[Mapping[str, Any], ...] = field(repr=False)
    service: str
    options: Mapping[str, Any] = field(repr=False)
    uses_tls: bool
    sentinels_use_tls: bool
    forced_host: str | None = None

    @property
    def address(self) -> str:
        """Where that is, without secrets."""
        hosts = ",".join(join_host(each["host"], each["port"]) for each in self.sentinels)
        return f"{SENTINEL_SCHEME}{hosts}/{self.service}"


def read_sentinel_url(url: str) -> SentinelPlace:
    """Return what a URL names.

    Args:
        url: ``redis+sentinel://[user:password@]host:port[,host:port...]/name[/db][?options]``.
            With any option that begins with ``ssl_``, all connections use TLS.

    Raises:
        ValueError: It is of another form.
    """
    authority, _, rest = url.removeprefix(SENTINEL_SCHEME).partition("/")
    path, _, query = rest.partition("?")
    service, _, db = path.partition("/")
    login, at, hosts = authority.rpartition("@")
    named = [(host, port or _PORT) for host, port in split_hosts(hosts)]
    options: dict[str, Any] = dict(parse_url(f"redis://{login}{at}sentinels/{db}?{query}"))
    options.pop("host")
    if not service or not all(host for host, _ in named) or (db and not db.isdecimal()):
        raise ValueError(f"not of the form {FORM}")
    if _OF_ONE_SERVER & options.keys():
        raise ValueError("it names a server beside the sentinels")
    if any(name.startswith("ssl_") for name in options):
        options = with_name_check(options)
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    shared = tls | {
        name: options[f"sentinel_{name}"]
        for name in ("username", "password")
        if f"sentinel_{name}" in options
    }
    for name in ("sentinel_username", "sentinel_password"):
        options.pop(name, None)
    return SentinelPlace(
        sentinels=tuple({**shared, "host": host, "port": port} for host, port in named),
        service=unquote(service),
        options=options,
        uses_tls=bool(tls),
        sentinels_use_tls=bool(tls),
    )


def place_of_pool(pool: ConnectionPool) -> SentinelPlace | None:
    """Return what the pool of a user's client follows; None when it follows no sentinels.

    Raises:
        TypeError: It leads to replicas, which can not be written to.
    """
    if not isinstance(pool, SentinelConnectionPool):
        return None
    if not pool.is_master:
        raise TypeError(
            f"redis must lead to the primary of '{pool.service_name}': "
            "make the client with Sentinel.master_for(), not with slave_for() or replica_for()"
        )
    manager = pool.sentinel_manager
    options = dict(pool.connection_kwargs)
    options.pop("connection_pool", None)
    pools = [each.connection_pool for each in manager.sentinels]
    return SentinelPlace(
        sentinels=tuple(dict(each.connection_kwargs) for each in pools),
        service=pool.service_name,
        options=options,
        uses_tls=issubclass(pool.connection_class, SSLConnection),
        sentinels_use_tls=any(issubclass(each.connection_class, SSLConnection) for each in pools),
        forced_host=getattr(manager, "_force_master_ip", None),
    )
