"""Many requests at once, each to the node that serves its key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from redis.crc import key_slot

from bb5_breaker._store.cluster.node import ClusterNode
from bb5_breaker._store.cluster.nodes import Nodes
from bb5_breaker._store.cluster.slot_map import Node
from bb5_breaker._store.cluster.topology import Topology, contradiction
from bb5_breaker._store.faults import explain_fault
from bb5_breaker._store.redirection import Redirection, read_redirection
from bb5_breaker.exceptions import StoreError, StoreUnavailableError

__all__ = ["Spread", "Way"]

T = TypeVar("T")
Send = Callable[[ClusterNode, Sequence[T]], list[Any]]


class Way(NamedTuple, Generic[T]):
    """How requests of one kind are sent.

    Args:
        send: To the node that serves their keys.
        send_asking: To the node that is about to.
    """

    send: Send[T]
    send_asking: Send[T]


class Spread:
    """Sends requests to their nodes, one after the other, each node's in one go. Thread-safe.

    Args:
        nodes: The ways to the nodes.
        topology: Where they are.
    """

    def __init__(self, nodes: Nodes, topology: Topology) -> None:
        self._nodes = nodes
        self._topology = topology

    def run(self, way: Way[T], keys: Sequence[bytes], requests: Sequence[T]) -> list[Any]:
        """Send requests and return their replies, in order; an error takes the place of one.

        What was sent elsewhere by a node follows there, once.

        Raises:
            StoreError: No node can be reached.
        """
        owners = self._topology.locate_all([key_slot(key) for key in keys])
        replies: list[Any] = [None] * len(requests)
        groups: dict[Node, list[int]] = defaultdict(list)
        for index, owner in enumerate(owners):
            if isinstance(owner, Node):
                groups[owner].append(index)
            else:
                replies[index] = owner
        sent_on: list[tuple[int, Node, Redirection]] = []
        for node, indexes in groups.items():
            self._send(way.send, node, indexes, requests, replies)
            for index in indexes:
                to = read_redirection(replies[index])
                if to is not None:
                    sent_on.append((index, node, to))
        if sent_on:
            self._follow(way, sent_on, requests, replies)
        return replies

    def _follow(
        self,
        way: Way[T],
        sent_on: Sequence[tuple[int, Node, Redirection]],
        requests: Sequence[T],
        replies: list[Any],
    ) -> None:
        """Send requests where nodes sent us; not further than that."""
        groups: dict[tuple[bool, Node], list[int]] = defaultdict(list)
        for index, asked, to in sent_on:
            groups[to.is_lasting, self._topology.take_redirection(asked, to)].append(index)
        for (is_lasting, node), indexes in groups.items():
            self._send(
                way.send if is_lasting else way.send_asking, node, indexes, requests, replies
            )
            if is_lasting:
                self._topology.reread(node)
        for index, asked, to in sent_on:
            if read_redirection(replies[index]) is not None:
                self._topology.doubt(asked)
                replies[index] = contradiction(asked, to)

    def _send(
        self,
        send: Send[T],
        node: Node,
        indexes: Sequence[int],
        requests: Sequence[T],
        replies: list[Any],
    ) -> None:
        try:
            found: Iterable[Any] = send(
                self._nodes.at(node), [requests[index] for index in indexes]
            )
        except StoreError as error:
            found = [error] * len(indexes)
        for index, reply in zip(indexes, found, strict=True):
            replies[index] = reply
            if isinstance(reply, Exception):
                self._look_at(reply, node)

    def _look_at(self, fault: Exception, node: Node) -> None:
        error = fault if isinstance(fault, StoreError) else explain_fault(fault, node.address)
        if isinstance(error, StoreUnavailableError):
            self._topology.doubt(node)
