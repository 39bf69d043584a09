"""From what a user names a Redis by to a client of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import redis

from bb5_breaker._store.addresses import mask_url
from bb5_breaker._store.clients import client_from_url, client_like, describe_client
from bb5_breaker._store.importing import IMPORTING

if TYPE_CHECKING:
    from bb5_breaker._store.cluster.client import ClusterClient

__all__ = ["Client", "Given", "Opened", "close_client", "open_client", "open_like", "open_url"]

# What calls go over, and what a user may give.
Client: TypeAlias = "redis.Redis | ClusterClient"
Given: TypeAlias = "redis.Redis | redis.RedisCluster | ClusterClient"
_CLUSTER_SCHEMES: Final = ("redis+cluster://", "rediss+cluster://")


class Opened(NamedTuple):
    """A client of our own; nothing is connected yet.

    Args:
        client: The client.
        address: Where it leads, without secrets.
    """

    client: Client
    address: str


def open_client(target: Given | str, timeout: float) -> Opened:
    """Return a client of our own for what was given; see the other two."""
    return open_url(target, timeout) if isinstance(target, str) else open_like(target, timeout)


def open_url(url: str, timeout: float) -> Opened:
    """Return a client of our own for a URL.

    Args:
        url: Of a server or a cluster.
        timeout: Seconds for connecting and for each reply.

    Raises:
        ValueError: The URL is malformed; the message has no secret of it.
    """
    if not url.startswith(_CLUSTER_SCHEMES):
        return Opened(client_from_url(url, timeout), mask_url(url))
    with IMPORTING:
        from bb5_breaker._store.cluster.client import cluster_from_url
    cluster = cluster_from_url(url, timeout)
    return Opened(cluster, cluster.address)


def open_like(given: Given, timeout: float) -> Opened:
    """Return a client of our own that leads where another one does.

    Args:
        given: A client; it is not used for our calls.
        timeout: Seconds for connecting and for each reply.

    Raises:
        TypeError: The client is of an unsupported kind.
    """
    if not isinstance(given, redis.Redis):
        with IMPORTING:
            from bb5_breaker._store.cluster.client import ClusterClient, cluster_like
        if isinstance(given, redis.RedisCluster):
            given = cluster_like(given, timeout)
            return Opened(given, given.address)
        if isinstance(given, ClusterClient):
            return Opened(given.like(timeout), given.address)
    client = client_like(given, timeout)
    return Opened(client, describe_client(client))


def close_client(client: Client) -> None:
    """Close the connections of a client that are not lent to a store; new ones can be made."""
    if isinstance(client, redis.Redis):
        client.connection_pool.disconnect()
    else:
        client.close()
