"""Servers that answer, and refuse: what calls see of it, and what the process does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from bb5_breaker import CircuitBreaker
from tests.server.circuits import eventually
from tests.support.kinds import ServerKind
from tests.support.processes import LocalServer
from tests.support.running import Config
from tests.support.servers import RunningServer, start
from tests.support.workers_circuit import (
    Keys,
    ServiceFailed,
    end_link,
    fail,
    make_breaker,
)

_SLOTS = 16_384
# Long enough for several attempts of a process to find its store well again.
_FAULT_SECONDS = 0.25
_PREFIX = "t-refused"
_RULES: dict[str, Any] = {"failure_threshold": 3, "timeout_seconds": 30.0}
_SETTINGS = {
    "store_timeout": 0.5,
    "store_retry_interval": 0.05,
    "flush_interval": 0.02,
    "heartbeat_interval": 0.2,
}


def _nothing(_: RunningServer) -> None:
    return


@dataclass(frozen=True, slots=True)
class _Fault:
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
_FAULTS = [
    _Fault("READONLY", _read_only),
    _Fault("MASTERDOWN", _master_down),
    _Fault("CLUSTERDOWN", _cluster_down, _CLUSTER, _take_all_slots),
    _Fault("BUSY", _busy, {"lua-time-limit": 20}),
    _Fault("LOADING", _loading, {"enable-debug-command": "yes"}),
    _Fault("MISCONF", _bgsave_fails, {"save": "3600 1"}),
    _Fault("OOM", _memory_full),
    _Fault("NOAUTH", _password_unknown, words="password"),
    _Fault("NOPERM", _right_taken),
]
# Where the code is lost on the way, or another rule comes before.
_WORDED = [fault for fault in _FAULTS if fault.code in {"READONLY", "OOM", "NOAUTH"}]


@pytest.fixture(params=_FAULTS, ids=lambda fault: fault.code)
def fault(request: pytest.FixtureRequest) -> _Fault:
    """One of the ways to refuse."""
    chosen: _Fault = request.param
    return chosen


@contextmanager
def _guarded(kind: ServerKind, fault: _Fault) -> Iterator[tuple[RunningServer, CircuitBreaker]]:
    """Start a server that can refuse in that way; its breaker's connections end with it."""
    with start(kind, config=fault.config) as server:
        fault.prepare(server)
        breaker = make_breaker(server.url, _PREFIX, settings=_SETTINGS, **_RULES)
        breaker.call(int)
        try:
            yield server, breaker
        finally:
            end_link(breaker)


def _call(breaker: CircuitBreaker, work: Callable[[], Any]) -> str:
    """Call; s or f when the end is the call's own, r when rejected; all else is raised."""
    result = breaker.call_result(work)
    if result.was_rejected:
        return "r"
    if result.success:
        assert result.value == 42
        return "s"
    assert type(result.exception) is ServiceFailed
    assert result.exception.__cause__ is result.exception.__context__ is None
    return "f"


def _succeed() -> int:
    return 42


def test_calls_go_on_and_one_line_tells_why(
    any_server: RunningServer,
    fault: _Fault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Results and errors stay the call's own, however long it lasts; then the store counts."""
    with _guarded(any_server.kind, fault) as (server, breaker):
        _live_through(fault, server, breaker, caplog)


@pytest.mark.parametrize("fault", _WORDED, indirect=True, ids=lambda fault: fault.code)
def test_each_server_is_understood(
    server: RunningServer,
    fault: _Fault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same, where servers say it in words of their own."""
    with _guarded(server.kind, fault) as (refusing, breaker):
        _live_through(fault, refusing, breaker, caplog)


def _live_through(
    fault: _Fault,
    server: RunningServer,
    breaker: CircuitBreaker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = Keys(server.client(), _PREFIX)
    with caplog.at_level(logging.INFO, logger="bb5_breaker"):
        with fault.begin(server):
            ends = time.monotonic() + _FAULT_SECONDS
            while time.monotonic() < ends:
                assert [_call(breaker, work) for work in (_succeed, fail)] == ["s", "f"]
                time.sleep(0.01)
        eventually(
            lambda: _call(breaker, _succeed) == "s" and breaker._link().failing is None,
            "the store is used again",
        )
    levels = [record.levelname for record in caplog.records]
    assert levels.count("ERROR") == 1, caplog.messages
    assert levels.count("WARNING") <= 1, caplog.messages
    assert fault.words in caplog.messages[0]
    before = int(keys.field("total_failures") or 0)
    assert _call(breaker, fail) == "f"
    assert int(keys.field("total_failures")) == before + 1


@pytest.mark.usefixtures("both_modes")
def test_the_process_guards_its_calls_alone_for_as_long_as_it_lasts(
    any_server: RunningServer, fault: _Fault
) -> None:
    """Its own failures open the circuit, and it stays open over all attempts at the store."""
    with _guarded(any_server.kind, fault) as (server, breaker), fault.begin(server):
        assert [_call(breaker, fail) for _ in range(_RULES["failure_threshold"])] == ["f"] * 3
        ends = time.monotonic() + _FAULT_SECONDS
        while time.monotonic() < ends:
            assert _call(breaker, _succeed) == "r"
            time.sleep(0.01)
