"""Which node serves which slot, as one node of the cluster tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS

__all__ = ["UNKNOWN_HOST", "Node", "Remap", "SlotMap", "read_slot_map"]

# What a node tells instead of a name that it does not know.
UNKNOWN_HOST: Final = "?"
# From the address that a node has in the cluster to the one at which it is reached from here.
Remap = Callable[[tuple[str, int]], tuple[str, int]]


class Node(NamedTuple):
    """Where one server of a cluster is.

    Args:
        host: Its name or IP address.
        port: Its port.
    """

    host: str
    port: int

    @property
    def address(self) -> str:
        """Host and port as messages have them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Who serves what. Never changed, only replaced, so it is read without a lock.

    Args:
        owners: The primary of each slot; None for a slot that nobody serves.
        primaries: The primaries, in the order of their slots.
        replicas: The other nodes, which can be asked for the map as well.
    """

    owners: tuple[Node | None, ...]
    primaries: tuple[Node, ...]
    replicas: tuple[Node, ...]

    def moved(self, slot: int, node: Node) -> SlotMap:
        """Return the map with one slot in other hands."""
        owners = (*self.owners[:slot], node, *self.owners[slot + 1 :])
        return SlotMap(owners, _distinct([*self.primaries, node]), self.replicas)


def read_slot_map(reply: Sequence[Sequence[Any]], asked: Node, remap: Remap | None) -> SlotMap:
    """Return the map in the reply to CLUSTER SLOTS.

    Args:
        reply: The reply as it came, in bytes.
        asked: The node that answered; one that does not know its own address leaves it out.
        remap: Gives the addresses at which nodes are reached; None for those that they tell.

    Raises:
        ValueError, TypeError, IndexError: It is no such reply.
    """
    owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    primaries: list[Node] = []
    replicas: list[Node] = []
    for first, last, primary, *others in reply:
        if not 0 <= first <= last < REDIS_CLUSTER_HASH_SLOTS:
            raise ValueError(f"slots {first} to {last}")
        owner = _read_node(primary, asked, remap)
        owners[first : last + 1] = [owner] * (last + 1 - first)
        if owner is not None:
            primaries.append(owner)
        replicas += [node for each in others if (node := _read_node(each, asked, remap))]
    return SlotMap(tuple(owners), _distinct(primaries), _distinct(replicas))


def _read_node(entry: Sequence[Any], asked: Node, remap: Remap | None) -> Node | None:
    host = (entry[0] or b"").decode() or asked.host
    if host == UNKNOWN_HOST:
        return None
    place = (host, int(entry[1]))
    return Node(*(remap(place) if remap is not None else place))


def _distinct(nodes: Iterable[Node]) -> tuple[Node, ...]:
    return tuple(dict.fromkeys(nodes))
