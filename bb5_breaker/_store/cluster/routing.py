"""A cluster as the store sees it: each script and command goes where its key is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import redis
from redis.crc import key_slot

from bb5_breaker._store.backend import KeyedCommand
from bb5_breaker._store.cluster.node import ClusterNode
from bb5_breaker._store.cluster.nodes import Nodes
from bb5_breaker._store.cluster.post import ClusterPost
from bb5_breaker._store.cluster.slot_map import Node
from bb5_breaker._store.cluster.spread import Spread, Way
from bb5_breaker._store.cluster.topology import Topology, contradiction
from bb5_breaker._store.codec import ScriptCall
from bb5_breaker._store.faults import explain_fault
from bb5_breaker._store.push.post import Post
from bb5_breaker._store.redirection import RedirectedError, Redirection
from bb5_breaker.exceptions import StoreError, StoreUnavailableError

__all__ = ["ClusterBackend"]

T = TypeVar("T")
_SCRIPTS: Final = Way(ClusterNode.evaluate_many, ClusterNode.evaluate_many_asking)
_COMMANDS: Final = Way(ClusterNode.pipeline, ClusterNode.pipeline_asking)


class ClusterBackend:
    """Runs scripts and plain commands on the primaries of a cluster. Thread-safe.

    A node that does not serve a key says who does, and has done nothing: then the request goes
    there, once. All else that goes wrong is the caller's at once; before the next attempt the map
    of the cluster is read anew.

    Args:
        nodes: The ways to the nodes.
        topology: Where they are.
        address: The cluster as messages name it, without secrets.
    """

    def __init__(self, nodes: Nodes, topology: Topology, address: str) -> None:
        self.address = address
        self._nodes = nodes
        self._topology = topology
        self._spread = Spread(nodes, topology)

    def evaluate(self, call: ScriptCall) -> Any:
        """Run a script on the node of its circuit.

        Raises:
            StoreError: The node can not be reached, refused, or holds foreign data.
        """
        node = self._topology.locate(key_slot(call.keys[0]))
        try:
            return self._try(node, ClusterNode.evaluate, call)
        except RedirectedError as error:
            return self._follow(node, error.redirection, call)

    def evaluate_many(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run scripts, those of one node in one round trip; errors in the place of replies.

        Also of nodes that can not be reached, so that the others' replies are not lost.

        Raises:
            StoreError: No node can be reached.
        """
        return self._spread.run(_SCRIPTS, [call.keys[0] for call in calls], calls)

    def pipeline(self, commands: Sequence[KeyedCommand]) -> list[Any]:
        """Run plain commands likewise; one without a key goes where the key "" would be.

        Raises:
            StoreError: No node can be reached.
        """
        return self._spread.run(_COMMANDS, [key for key, _ in commands], commands)

    def servers(self) -> Sequence[ClusterNode]:
        """Return the primaries, without those that failed lately.

        Raises:
            StoreError: No node can be reached.
        """
        return [self._nodes.at(node) for node in self._topology.trusted_primaries()]

    def explain(self, fault: Exception, call: ScriptCall) -> StoreError:
        """Return our error for what took the place of a script's reply."""
        if isinstance(fault, StoreError):
            return fault
        try:
            node = self._topology.locate(key_slot(call.keys[0]))
            return self._nodes.at(node).explain(fault, call)
        except StoreError as error:
            return error

    def explain_plain(self, fault: Exception, key: bytes) -> StoreError:
        """Return our error for what took the place of a plain command's reply."""
        if isinstance(fault, StoreError):
            return fault
        return explain_fault(fault, self.address, key=key)

    def explain_type(self, needed: dict[bytes, str]) -> StoreError:
        """Return an error that names which of our keys, of one circuit, holds something foreign."""
        try:
            node = self._topology.locate(key_slot(next(iter(needed))))
            return self._nodes.at(node).explain_type(needed)
        except StoreError as error:
            return error

    def part_of(self, service: str) -> str:
        """Return the address of the node that serves a circuit, as far as is known."""
        node = self._owner_of(service)
        return node.address if node is not None else ""

    def client_of(self, service: str) -> redis.Redis:
        """Return a client of the node that serves a circuit.

        Raises:
            StoreError: No node can be reached.
        """
        return self._nodes.at(self._topology.locate(_slot_of(service))).client

    def find_post(self) -> Post:
        """Return a primary to listen on, drawn by chance from those that did not fail lately.

        Raises:
            StoreError: No node can be reached.
        """
        node = self._topology.choose_primary()
        return ClusterPost(self._nodes.at(node), lambda: self._topology.doubt(node))

    def close(self) -> None:
        """Close all connections; the next command makes new ones."""
        self._nodes.close()

    def _owner_of(self, service: str) -> Node | None:
        known = self._topology.map
        return known.owners[_slot_of(service)] if known is not None else None

    def _try(self, node: Node, work: Callable[[ClusterNode, T], Any], what: T) -> Any:
        try:
            return work(self._nodes.at(node), what)
        except StoreUnavailableError:
            self._topology.doubt(node)
            raise

    def _follow(self, asked: Node, to: Redirection, call: ScriptCall) -> Any:
        """Run a script where a node sent us; not further than that."""
        node = self._topology.take_redirection(asked, to)
        work = ClusterNode.evaluate if to.is_lasting else ClusterNode.evaluate_asking
        try:
            reply = self._try(node, work, call)
        except RedirectedError as error:
            self._topology.doubt(asked)
            raise contradiction(asked, to) from error
        if to.is_lasting:
            self._topology.reread(node)
        return reply


def _slot_of(service: str) -> int:
    # The hash tag of all keys of a circuit is its id, which has no braces.
    return key_slot(service.encode())
