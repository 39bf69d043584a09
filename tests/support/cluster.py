"""A Redis or Valkey Cluster for the tests: three primaries with a replica each, on loopback."""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import redis
from redis.crc import key_slot

from .kinds import Origin, ServerKind, discover
from .processes import LocalServer
from .running import ServerStartError

__all__ = ["Cluster", "cluster_kinds", "start_cluster"]

_PRIMARIES = 3
_SLOTS = 16384
_PATIENCE = 30.0
_PORT_ATTEMPTS = 20
# The bus of a cluster listens 10,000 above the port, which must be below 65,536.
_PORTS = (20_000, 32_000)
_BUS = 10_000


def cluster_kinds() -> tuple[ServerKind, ...]:
    """List the kinds of server that a cluster can be made of: those that run as processes."""
    return tuple(kind for kind in discover() if kind.origin is not Origin.DOCKER)


class Cluster:
    """Six servers that know each other. A test that harms it mends it with :meth:`heal`.

    Args:
        nodes: The servers, started with `cluster-enabled`.
    """

    def __init__(self, nodes: list[LocalServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """The URL of the cluster, by three of its nodes."""
        places = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])
        return f"redis+cluster://{places}"

    @property
    def ports(self) -> list[int]:
        """The ports of all nodes."""
        return [node.port or 0 for node in self.nodes]

    def primaries(self) -> dict[int, str]:
        """Return the port and id of each living primary that serves slots."""
        return {
            _port(line): line[0]
            for line in self._lines()
            if "master" in line[2] and "fail" not in line[2] and len(line) > 8
        }

    def node_at(self, port: int) -> LocalServer:
        """Return the server on a port."""
        return next(node for node in self.nodes if node.port == port)

    def primary_of(self, key: str) -> LocalServer:
        """Return the server that serves a key now."""
        slot = key_slot(key.encode())
        for line in self._lines():
            if (
                "master" in line[2]
                and "fail" not in line[2]
                and any(_covers(span, slot) for span in line[8:])
            ):
                return self.node_at(_port(line))
        raise AssertionError(f"nobody serves slot {slot}")

    def replica_of(self, port: int) -> LocalServer:
        """Return a living replica of the primary on a port."""
        primary = self.primaries()[port]
        for line in self._lines():
            if line[3] == primary and "fail" not in line[2]:
                return self.node_at(_port(line))
        raise AssertionError(f"no replica of {port}")

    def scripts_run_by(self, work: Callable[[], object]) -> int:
        """Return how many scripts all nodes ran while something was done, for whomever."""
        before = self._scripts()
        work()
        return self._scripts() - before

    def is_whole(self) -> bool:
        """True when every node serves or follows, and all agree on it."""
        return all(node.answers() and _is_settled(node) for node in self.nodes)

    def resume_all(self) -> None:
        """Start what was killed and wake what was paused; not waited for."""
        for node in self.nodes:
            if node.is_running:
                node.resume()
            else:
                node.restart()

    def heal(self) -> None:
        """Start what was killed, wake what was paused, and wait until all is well again."""
        self.resume_all()
        wait_for(self.is_whole, "the cluster to be whole")

    def move_slot(self, slot: int, target: int, *, pause: Callable[[], object] = int) -> None:
        """Move a slot with its keys to the primary on a port, key by key, as a reshard does.

        Args:
            slot: The slot.
            target: Port of the primary that is to serve it.
            pause: Called when the slot is being moved and its first key is gone.
        """
        source = self._server_of_slot(slot)
        if source.port == target:
            return
        ids = self.primaries()
        destination = self.node_at(target)
        with source.client() as old, destination.client() as new:
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source.port or 0])
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
            while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 1):
                old.execute_command(
                    "MIGRATE", "127.0.0.1", target, "", 0, 5000, "REPLACE", "KEYS", *keys
                )
                pause()
            for client in (new, old):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])
            for port in ids.keys() - {source.port, target}:
                with self.node_at(port).client() as other:
                    other.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])

    def hand_over(self, port: int) -> None:
        """Have the replica of a primary take its place, in good order."""
        heir = self.replica_of(port)
        _command(heir, "CLUSTER FAILOVER")
        wait_for(lambda: (heir.port or 0) in self.primaries(), "a replica to take over")
        wait_for(lambda: _role(self.node_at(port)) == "slave", "the primary to follow")

    def expel(self, port: int) -> None:
        """Take a primary out of the cluster without telling its clients; it stays up alone."""
        self.hand_over(port)
        gone = self.node_at(port)
        name = _command(gone, "CLUSTER MYID").decode()
        others = [node for node in self.nodes if node is not gone]
        for node in others:
            _command(node, "CLUSTER FORGET", name)
        # Under a new name: as such it may come back at once.
        _command(gone, "CLUSTER RESET", "HARD")

    def readmit(self, port: int) -> None:
        """Take a node in again, as a replica of the primary that has none."""
        new = self.node_at(port)
        _command(new, "CLUSTER MEET", "127.0.0.1", next(iter(self.primaries())))
        followed = {line[3] for line in self._lines()}
        lonely = next(name for name in self.primaries().values() if name not in followed)
        wait_for(lambda: _replicate(new, lonely), "a replica to follow")
        wait_for(self.is_whole, "the cluster to be whole")

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.stop()

    def _server_of_slot(self, slot: int) -> LocalServer:
        for line in self._lines():
            if (
                "master" in line[2]
                and "fail" not in line[2]
                and any(_covers(span, slot) for span in line[8:])
            ):
                return self.node_at(_port(line))
        raise AssertionError(f"nobody serves slot {slot}")

    def _scripts(self) -> int:
        count = 0
        for port in self.primaries():
            with self.node_at(port).client() as client:
                stats: dict[str, Any] = client.info("commandstats")
            for name in ("evalsha", "eval"):
                count += int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"])
        return count

    def _lines(self) -> list[list[str]]:
        """Return what a living node knows of all, one that is no outcast."""
        for node in self.nodes:
            if node.is_running and node.answers() and _info(node)["cluster_state"] == "ok":
                return _node_lines(node)
        raise AssertionError("no node of the cluster is well")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start_cluster(kind: ServerKind, **config: str | int) -> Cluster:
    """Start a cluster of three primaries with a replica each, and wait until it serves.

    Args:
        kind: Of what servers.
        **config: Settings of all of them, with `_` for `-`.
    """
    settings = {name.replace("_", "-"): value for name, value in config.items()}
    with ExitStack() as stack:
        nodes = [stack.enter_context(_start_node(kind, settings)) for _ in range(2 * _PRIMARIES)]
        _form(nodes)
        stack.pop_all()
    return Cluster(nodes)


def wait_for(condition: Callable[[], object], what: str, seconds: float = _PATIENCE) -> None:
    """Wait until a condition holds; errors of servers that are away count as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (redis.RedisError, AssertionError):
            pass
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def _start_node(kind: ServerKind, settings: dict[str, Any]) -> LocalServer:
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        port = random.randint(*_PORTS)
        if not (_is_free(port) and _is_free(port + _BUS)):
            continue
        config = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": 1000,
            "cluster-replica-validity-factor": 0,
            "repl-diskless-sync-delay": 0,
            **settings,
        }
        try:
            return LocalServer(kind, config, port)
        except ServerStartError:
            # Another process may take the port between our look and the server's bind.
            if attempt == _PORT_ATTEMPTS:
                raise
    raise AssertionError("no free port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _form(nodes: list[LocalServer]) -> None:
    ids = [_command(node, "CLUSTER MYID").decode() for node in nodes]
    share = _SLOTS // _PRIMARIES
    for number, node in enumerate(nodes):
        _command(node, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        if number:
            _command(nodes[0], "CLUSTER MEET", "127.0.0.1", node.port)
    for number in range(_PRIMARIES):
        end = _SLOTS if number == _PRIMARIES - 1 else (number + 1) * share
        _command(nodes[number], "CLUSTER ADDSLOTS", *range(number * share, end))
    wait_for(lambda: all(len(_node_lines(node)) == len(nodes) for node in nodes), "all have met")
    for number, node in enumerate(nodes[_PRIMARIES:]):
        wait_for(lambda: _replicate(node, ids[number]), "a replica to follow")  # noqa: B023
    wait_for(lambda: all(map(_is_settled, nodes)), "the cluster to form")


def _replicate(node: LocalServer, primary: str) -> bool:
    _command(node, "CLUSTER REPLICATE", primary)
    return True


def _is_settled(node: LocalServer) -> bool:
    lines = _node_lines(node)
    flags = [line[2] for line in lines]
    with node.client() as client:
        replication: dict[str, Any] = client.info("replication")
    # A replica is up before its primary sends it what is written.
    followers = [replication[name] for name in replication if re.fullmatch(r"slave\d+", name)]
    return (
        _info(node)["cluster_state"] == "ok"
        and len(lines) == 2 * _PRIMARIES
        and not any("fail" in each or "handshake" in each for each in flags)
        and sum("slave" in each for each in flags) == _PRIMARIES
        and replication.get("master_link_status", "up") == "up"
        and all(each["state"] == "online" for each in followers)
    )


def _role(node: LocalServer) -> str:
    with node.client() as client:
        return str(client.info("replication")["role"])


def _info(node: LocalServer) -> dict[str, str]:
    with node.client(decode_responses=True) as client:
        found: dict[str, str] = client.execute_command("CLUSTER INFO")
    return found


def _node_lines(node: LocalServer) -> list[list[str]]:
    # By the socket's raw reply: redis-py makes a dict of it that leaves slots out.
    with node.client() as client:
        client.response_callbacks.clear()
        text = client.execute_command("CLUSTER NODES").decode()
    return [line.split() for line in text.splitlines()]


def _command(node: LocalServer, *words: Any) -> Any:
    with node.client() as client:
        client.response_callbacks.clear()
        return client.execute_command(*words)


def _port(line: list[str]) -> int:
    return int(line[1].split("@")[0].rsplit(":", 1)[1])


def _covers(span: str, slot: int) -> bool:
    if span.startswith("["):
        return False
    first, _, last = span.partition("-")
    return int(first) <= slot <= int(last or first)
