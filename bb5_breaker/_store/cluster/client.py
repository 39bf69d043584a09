"""A cluster as somebody named it: by a URL, or by a client of redis-py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import redis

from bb5_breaker._store.addresses import mask_url
from bb5_breaker._store.clients import options_from_url
from bb5_breaker._store.cluster.nodes import Nodes
from bb5_breaker._store.cluster.routing import ClusterBackend
from bb5_breaker._store.cluster.slot_map import Node
from bb5_breaker._store.cluster.topology import Topology

__all__ = ["ClusterClient", "cluster_from_url", "cluster_like"]

_MOST_NAMED: Final = 3
# Of a client's options: who it is, and how it is encrypted. All others are ours to set.
_KEPT: Final = frozenset(
    {
        "credential_provider",
        "password",
        "socket_keepalive",
        "socket_keepalive_options",
        "username",
    }
)


class ClusterClient:
    """The nodes of one cluster and the map of them, for all in this process who use it.

    Thread-safe; the child of a fork goes on with the map, over connections of its own.

    Args:
        nodes: The ways to the nodes.
        scheme: Scheme of its address in messages.
    """

    def __init__(self, nodes: Nodes, scheme: str) -> None:
        self._nodes = nodes
        self._scheme = scheme
        self._topology = Topology(nodes)
        places = [node.address for node in nodes.seeds[:_MOST_NAMED]]
        self.address = f"{scheme}{','.join(places)}"

    def like(self, timeout: float) -> ClusterClient:
        """Return a client of the same cluster with another time-out."""
        return ClusterClient(self._nodes.like(timeout), self._scheme)

    def backend(self) -> ClusterBackend:
        """Return the cluster as a store needs it."""
        return ClusterBackend(self._nodes, self._topology, self.address)

    def publish(self, channel: str, payload: bytes) -> int:
        """Publish on one primary, which tells it to all nodes.

        Returns:
            How many subscriptions of that one node received it.

        Raises:
            StoreError: No node can be reached.
            RedisError: The node refused, or can not be reached.
        """
        node = self._topology.choose_primary()
        try:
            return int(self._nodes.at(node).client.publish(channel, payload))
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            self._topology.doubt(node)
            raise

    def close(self) -> None:
        """Close all connections; the next command makes new ones."""
        self._nodes.close()


def cluster_from_url(url: str, timeout: float) -> ClusterClient:
    """Return a client of our own for the URL of a cluster.

    Args:
        url: ``redis+cluster://[user:password@]host[:port][,host[:port]...]``, or
            ``rediss+cluster://`` for TLS, with options as ``redis://`` has them.
        timeout: Seconds for connecting and for each reply.

    Raises:
        ValueError: The URL is of no such form; the message has no secret of it.
    """
    scheme, _, rest = url.partition("+cluster://")
    places, slash, tail = _cut(rest)
    credentials, at, hosts = places.rpartition("@")
    seeds: list[Node] = []
    for host in hosts.split(","):
        kind, options = options_from_url(f"{scheme}://{credentials}{at}{host}{slash}{tail}")
        if not host or options.get("db"):
            raise ValueError(
                f"{mask_url(url)}: a Cluster has one database, and no node may be left empty; use "
                f"{scheme}+cluster://host:port,host:port"
            )
        options.pop("db", None)
        seeds.append(Node(options.pop("host", "localhost"), options.pop("port", 6379)))
    return ClusterClient(Nodes(seeds, kind, options, timeout, None), f"{scheme}+cluster://")


def cluster_like(client: redis.RedisCluster, timeout: float) -> ClusterClient:
    """Return a client of our own for the same cluster.

    Args:
        client: The user's client; it is not used for our calls.
        timeout: Seconds for connecting and for each reply.
    """
    manager = client.nodes_manager
    options = manager.connection_kwargs
    known = [*manager.startup_nodes.values(), *manager.nodes_cache.values()]
    seeds = list(dict.fromkeys(Node(node.host, int(node.port)) for node in known))
    kept, is_encrypted = _kept(options), _is_encrypted(options)
    kind = redis.SSLConnection if is_encrypted else redis.Connection
    scheme = "rediss" if is_encrypted else "redis"
    nodes = Nodes(seeds, kind, kept, timeout, manager.address_remap)
    return ClusterClient(nodes, f"{scheme}+cluster://")


def _cut(rest: str) -> tuple[str, str, str]:
    """Return the places of a URL, and what follows them."""
    for index, letter in enumerate(rest):
        if letter in "/?#":
            return rest[:index], letter, rest[index + 1 :]
    return rest, "", ""


def _is_encrypted(options: Mapping[str, Any]) -> bool:
    kind = options.get("connection_class", redis.Connection)
    return bool(options.get("ssl")) or issubclass(kind, redis.SSLConnection)


def _kept(options: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in options.items() if name in _KEPT}
    if _is_encrypted(options):
        kept |= {name: value for name, value in options.items() if name.startswith("ssl_")}
    return kept
