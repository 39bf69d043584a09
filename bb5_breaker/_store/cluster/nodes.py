"""The servers of one cluster that this process talks to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from weakref import finalize

import redis

from bb5_breaker._store.clients import make_client
from bb5_breaker._store.cluster.node import ClusterNode
from bb5_breaker._store.cluster.slot_map import Node, Remap

__all__ = ["Nodes"]


class Nodes:
    """Makes the way to each node when it is first needed. Thread-safe without a lock.

    Args:
        seeds: Nodes that were named by the user.
        connection_class: Class of the connections.
        options: What they are made with, without host and port.
        timeout: Seconds for connecting and for each reply.
        remap: Gives the addresses at which nodes are reached; None for those that they tell.
    """

    def __init__(
        self,
        seeds: Sequence[Node],
        connection_class: Any,
        options: dict[str, Any],
        timeout: float,
        remap: Remap | None,
    ) -> None:
        self.seeds = tuple(seeds)
        self.timeout = timeout
        self.remap = remap
        self._connection_class = connection_class
        self._options = options
        is_encrypted = issubclass(connection_class, redis.SSLConnection)
        self._scheme = "rediss" if is_encrypted else "redis"
        self._made: dict[Node, ClusterNode] = {}

    def at(self, node: Node) -> ClusterNode:
        """Return the way to a node; nothing is connected before its first command."""
        made = self._made.get(node)
        if made is None:
            options = {**self._options, "host": node.host, "port": node.port}
            client = make_client(self._connection_class, options, self.timeout)
            made = ClusterNode(client, f"{self._scheme}://{node.address}")
            # Of one that left the cluster, when nobody has anything under way there any more.
            finalize(made, client.connection_pool.disconnect).atexit = False
            made = self._made.setdefault(node, made)
        return made

    def like(self, timeout: float) -> Nodes:
        """Return the same with another time-out, and connections of its own."""
        return Nodes(self.seeds, self._connection_class, self._options, timeout, self.remap)

    def keep(self, nodes: Collection[Node]) -> None:
        """Forget all others, which are of the cluster no more."""
        for node in list(self._made):
            if node not in nodes and node not in self.seeds:
                self._made.pop(node, None)

    def close(self) -> None:
        """Close all connections; the next command makes new ones."""
        for node in list(self._made.values()):
            node.close()
