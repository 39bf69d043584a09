"""The node of a cluster on which a process listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError

from bb5_breaker._store.cluster.node import ClusterNode
from bb5_breaker._store.cluster.topology import CLUSTER_INFO, is_well_connected
from bb5_breaker._store.push.post import Post
from bb5_breaker.exceptions import StoreError

__all__ = ["ClusterPost"]

_ROLE: Final = (b"ROLE",)
_PRIMARY: Final = b"master"
# Seconds between two looks.
_INTERVAL: Final = 2.0


class ClusterPost(Post):
    """A primary: whatever is published anywhere in a cluster comes to all of its nodes.

    One that was cut off from the others, or taken out of the cluster, goes on answering its
    subscribers and hears nothing any more; so it is asked now and then, over a connection apart.
    For the thread of one feed.

    Args:
        node: The primary.
        on_loss: Called when the connection was lost, or could not be made.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        node: ClusterNode,
        on_loss: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(node.client, node.address)
        self._node = node
        self._on_loss = on_loss
        self._clock = clock
        self._inspect_at = clock() + _INTERVAL

    def inspect(self) -> None:
        """Look every two seconds whether the node is a primary, and connected with the others.

        Raises:
            RedisError: It is not.
        """
        now = self._clock()
        if now < self._inspect_at:
            return
        self._inspect_at = now + _INTERVAL
        try:
            info, role = self._node.pipeline([(b"", CLUSTER_INFO), (b"", _ROLE)])
        except StoreError:
            # Whether it lives is for the heartbeat to say, which has more patience.
            return
        if not is_well_connected(info):
            raise RedisConnectionError("the node is cut off from its Cluster")
        if not _is_primary(role):
            raise RedisConnectionError("the node is no primary of its Cluster any more")

    def note_loss(self) -> None:
        """The connection was lost, or could not be made: another node is to be taken."""
        self._on_loss()


def _is_primary(role: Any) -> bool:
    # Where the user may not ask the map has to do.
    return isinstance(role, Exception) or not role or role[0] == _PRIMARY
