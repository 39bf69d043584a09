"""What a process knows of a cluster's nodes, and how it learns more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from bb5_breaker._store.chance import shuffle
from bb5_breaker._store.cluster.nodes import Nodes
from bb5_breaker._store.cluster.slot_map import UNKNOWN_HOST, Node, SlotMap, read_slot_map
from bb5_breaker._store.redirection import Redirection
from bb5_breaker.exceptions import (
    StoreDataError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)

__all__ = ["CLUSTER_INFO", "Topology", "contradiction", "is_well_connected"]

# In bytes: redis-py would give the replies another form.
CLUSTER_INFO: Final = (b"CLUSTER", b"INFO")
_SLOTS: Final = (b"CLUSTER", b"SLOTS")
_STATE: Final = b"cluster_state:ok"
_ALONE: Final = b"cluster_size:0"
# A node that failed is asked after all others for so long.
_SUSPICION: Final = 5.0
# A map that was corrected slot by slot is read anew, but not more often than this.
_LEAST_INTERVAL: Final = 1.0


def is_well_connected(info: Any) -> bool:
    """Return False when a node says that it is cut off from its cluster, or no part of one.

    Args:
        info: Its answer to CLUSTER INFO, or an error: a user without the right to look is told
            nothing, and then the node is believed.
    """
    return isinstance(info, Exception) or (_STATE in info and _ALONE not in info)


def contradiction(asked: Node, to: Redirection) -> StoreRefusedError:
    """Return the error for a node that sent us to one which sent us on."""
    return StoreRefusedError(
        f"the Cluster is being changed: {asked.address} says that {to.host}:{to.port} serves "
        f"slot {to.slot}, and that one says it does not"
    )


class Topology:
    """The map of one cluster, read when it is needed and not known or in doubt. Thread-safe.

    Without a lock: the map is replaced as a whole. Two threads that read it at once cost a
    question too many, and one that puts back what was just corrected is corrected again.

    Args:
        nodes: The ways to the nodes.
        clock: Monotonic seconds.
    """

    def __init__(self, nodes: Nodes, clock: Callable[[], float] = time.monotonic) -> None:
        self.map: SlotMap | None = None
        self._nodes = nodes
        self._clock = clock
        # Nodes that failed since the map was read: perhaps another one has taken over.
        self._doubted: set[Node] = set()
        self._suspected: dict[Node, float] = {}
        self._read_at = float("-inf")

    def locate(self, slot: int) -> Node:
        """Return the node that serves a slot; asks for the map first where that is in doubt.

        Raises:
            StoreError: No node can be asked, or nobody serves the slot.
        """
        known = self.map
        node = known.owners[slot] if known is not None else None
        if node is None or node in self._doubted:
            node = self.read().owners[slot]
        if node is None:
            raise self._unserved(slot)
        return node

    def locate_all(self, slots: Sequence[int]) -> list[Node | StoreError]:
        """Return the nodes that serve slots; the map is asked for once at the most.

        Where nobody answers, the map that is known has to do: most of it is right.

        Raises:
            StoreError: No node can be asked, and nothing is known.
        """
        known = self.map
        found = [known.owners[slot] for slot in slots] if known is not None else [None]
        if not self._doubted.isdisjoint(found) or None in found:
            known = self._read_or_keep()
        assert known is not None
        return [known.owners[slot] or self._unserved(slot) for slot in slots]

    def settled(self) -> SlotMap:
        """Return the map; asks for it first where anything of it is in doubt.

        Raises:
            StoreError: No node can be asked.
        """
        known = self.map
        return known if known is not None and not self._doubted else self.read()

    def choose_primary(self) -> Node:
        """Return one that has not failed lately, by chance, so that a fleet spreads out.

        Raises:
            StoreError: No node can be asked, or there is none.
        """
        primaries = self.settled().primaries
        if not primaries:
            raise StoreRefusedError("the Cluster has no node that serves a slot")
        return next(self._by_trust(primaries))

    def trusted_primaries(self) -> list[Node]:
        """Return those that have not failed lately; all, when all have.

        Raises:
            StoreError: No node can be asked.
        """
        now, suspected, primaries = self._clock(), self._suspected, self.settled().primaries
        trusted = [node for node in primaries if suspected.get(node, 0.0) <= now]
        return trusted or list(primaries)

    def doubt(self, node: Node) -> None:
        """A node failed: before it is used again the map is read anew."""
        self._suspected[node] = self._clock() + _SUSPICION
        self._doubted.add(node)

    def take_redirection(self, asked: Node, to: Redirection) -> Node:
        """Return the node to which another one sent us; when it is to stay so, note it."""
        if to.host == UNKNOWN_HOST:
            # It knows that it is not itself, but not how the other is reached.
            self.doubt(asked)
            return asked
        place = (to.host or asked.host, to.port)
        remap = self._nodes.remap
        node = Node(*(remap(place) if remap is not None else place))
        known = self.map
        if to.is_lasting and known is not None and known.owners[to.slot] != node:
            self.map = known.moved(to.slot, node)
        return node

    def reread(self, node: Node) -> None:
        """Ask a node that is known to be well for the whole map, unless that was done just now.

        When it fails, the map stays as it is: the cluster corrects what is wrong in it.
        """
        if self._clock() - self._read_at < _LEAST_INTERVAL:
            return
        # Before asking, so that of many threads one asks.
        self._read_at = self._clock()
        try:
            found, is_sound = self._ask(node)
        except StoreError:
            self.doubt(node)
            return
        if is_sound:
            self._take(found)

    def read(self) -> SlotMap:
        """Ask for the map, whoever answers; for no longer than one time-out and an answer.

        Raises:
            StoreError: No node can be asked.
        """
        began = self._clock()
        fallback: SlotMap | None = None
        error: StoreError | None = None
        for node in self._candidates():
            try:
                found, is_sound = self._ask(node)
            except StoreError as fault:
                error = fault
                self.doubt(node)
                if self._clock() - began >= self._nodes.timeout:
                    # It was silent; the next attempt begins with others.
                    break
                continue
            if is_sound:
                return self._take(found)
            # Cut off from the others, perhaps: what it knows may be old.
            fallback = fallback or found
        if fallback is None:
            assert error is not None
            raise error
        return self._take(fallback)

    def _read_or_keep(self) -> SlotMap:
        try:
            return self.read()
        except StoreUnavailableError:
            known = self.map
            if known is None:
                raise
            return known

    def _take(self, found: SlotMap) -> SlotMap:
        self.map = found
        self._doubted = set()
        self._read_at = self._clock()
        members = {*found.primaries, *found.replicas}
        self._nodes.keep(members)
        for node in list(self._suspected):
            if node not in members:
                self._suspected.pop(node, None)
        return found

    def _ask(self, node: Node) -> tuple[SlotMap, bool]:
        """Return what a node knows, and whether it is well connected with the others."""
        server = self._nodes.at(node)
        info, slots = server.pipeline([(b"", CLUSTER_INFO), (b"", _SLOTS)])
        if isinstance(slots, Exception):
            raise server.explain_plain(slots, b"") from slots
        try:
            found = read_slot_map(slots, node, self._nodes.remap)
        except (ValueError, TypeError, IndexError) as fault:
            raise StoreDataError(
                f"Redis at {server.address} answered CLUSTER SLOTS with what is no map: {fault}"
            ) from fault
        return found, is_well_connected(info)

    def _candidates(self) -> Iterator[Node]:
        known = self.map
        members = (*known.primaries, *known.replicas) if known is not None else ()
        return self._by_trust(tuple(dict.fromkeys((*members, *self._nodes.seeds))))

    def _by_trust(self, nodes: Sequence[Node]) -> Iterator[Node]:
        """Yield nodes in an order of chance, those that failed lately at the end."""
        now, suspected = self._clock(), self._suspected
        yield from sorted(shuffle(nodes), key=lambda node: suspected.get(node, 0.0) > now)

    def _unserved(self, slot: int) -> StoreRefusedError:
        return StoreRefusedError(f"no node of the Cluster serves slot {slot} at present")
