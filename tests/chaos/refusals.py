"""Ways for a server to refuse: each is brought about on a real one, and taken back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import redis

from tests.server.circuits import eventually
from tests.support.processes import LocalServer
from tests.support.running import Config
from tests.support.servers import RunningServer

__all__ = ["FAULTS", "Fault"]

_SLOTS = 16_384


def _nothing(_: RunningServer) -> None:
    return


@dataclass(frozen=True, slots=True)
class Fault:
    """A way for a server to refuse.

    Args:
        code: How its answer begins.
        begin: Brings it about; it lasts until the block is left.
        config: Settings of the server.
        prepare: What the server needs to work at all.
        words: What the log says of it.
    """

    code: str
    begin: Callable[[RunningServer], Any]
    config: Config = field(default_factory=dict)
    prepare: Callable[[RunningServer], None] = _nothing
    words: str = ""


@contextmanager
def _read_only(server: RunningServer) -> Iterator[None]:
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def _master_down(server: RunningServer) -> Iterator[None]:
    with server.client() as client, _read_only(server):
        client.config_set("replica-serve-stale-data", "no")
        yield


@contextmanager
def _cluster_down(server: RunningServer) -> Iterator[None]:
    with server.client() as client:
        client.execute_command("CLUSTER", "DELSLOTS", *range(_SLOTS))
        try:
            yield
        finally:
            _take_all_slots(server)


def _take_all_slots(server: RunningServer) -> None:
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(_SLOTS))
        eventually(lambda: client.cluster("info")["cluster_state"] == "ok", "the cluster is up")


@contextmanager
def _busy(server: RunningServer) -> Iterator[None]:
    def spin() -> None:
        with server.client(socket_timeout=60.0) as client, suppress(redis.RedisError):
            client.eval("while true do end", 0)

    spinning = threading.Thread(target=spin)
    spinning.start()
    with server.client() as client:
        eventually(lambda: "BUSY" in _answer(client), "busy")
        try:
            yield
        finally:
            client.script_kill()
            spinning.join()


@contextmanager
def _loading(server: RunningServer) -> Iterator[None]:
    def reload() -> None:
        with server.client(socket_timeout=60.0) as client, suppress(redis.RedisError):
            client.execute_command("DEBUG", "RELOAD")

    with server.client() as client:
        client.eval("for i = 1, 20000 do redis.call('SET', i, ARGV[1]) end", 0, "x" * 100)
        client.config_set("loading-process-events-interval-bytes", 1024)
        client.config_set("key-load-delay", 200)
        reloading = threading.Thread(target=reload)
        reloading.start()
        eventually(lambda: "LOADING" in _answer(client), "loading")
        try:
            yield
        finally:
            client.config_set("key-load-delay", 0)
            reloading.join()


@contextmanager
def _bgsave_fails(server: RunningServer) -> Iterator[None]:
    assert isinstance(server, LocalServer)
    obstacle = server.directory / "dump.rdb"
    obstacle.mkdir()
    (obstacle / "occupied").touch()
    with server.client() as client:
        client.set("x", 1)
        _save(client, "err")
        try:
            yield
        finally:
            (obstacle / "occupied").unlink()
            obstacle.rmdir()
            _save(client, "ok")


def _save(client: redis.Redis, expected: str) -> None:
    client.bgsave()
    eventually(
        lambda: client.info("persistence")["rdb_last_bgsave_status"] == expected,
        f"saved: {expected}",
    )


@contextmanager
def _memory_full(server: RunningServer) -> Iterator[None]:
    with server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@contextmanager
def _password_unknown(server: RunningServer) -> Iterator[None]:
    with server.client() as client:
        client.config_set("requirepass", "another")
        # Those who are connected stay logged in.
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub")
        try:
            yield
        finally:
            client.config_set("requirepass", "")


@contextmanager
def _right_taken(server: RunningServer) -> Iterator[None]:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+evalsha", "+eval")


def _answer(client: redis.Redis) -> str:
    """Return the error of a script that writes; empty without one."""
    try:
        client.eval("return redis.call('SET', KEYS[1], 1)", 1, "{look}")
    except redis.BusyLoadingError:
        return "LOADING"
    except redis.RedisError as error:
        return f"{type(error).__name__} {error}"
    return ""


# After an outage a cluster stays down for a node time-out.
_CLUSTER: Config = {"cluster-enabled": "yes", "cluster-node-timeout": 100}
FAULTS = [
    Fault("READONLY", _read_only),
    Fault("MASTERDOWN", _master_down),
    Fault("CLUSTERDOWN", _cluster_down, _CLUSTER, _take_all_slots),
    Fault("BUSY", _busy, {"lua-time-limit": 20}),
    Fault("LOADING", _loading, {"enable-debug-command": "yes"}),
    Fault("MISCONF", _bgsave_fails, {"save": "3600 1"}),
    Fault("OOM", _memory_full),
    Fault("NOAUTH", _password_unknown, words="password"),
    Fault("NOPERM", _right_taken),
]
