"""Primaries that die, are demoted or cut off, and sentinels that are frozen."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, StoreUnavailableError, configure
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.faults import NoPrimaryError
from tests.server.cached import QUIET, await_trust
from tests.support.buses import Buses, Heard, fail, make_event, wait_until
from tests.support.kinds import ServerKind
from tests.support.processes import LocalServer, start_on_free_port
from tests.support.sentinels import SentinelServer, SentinelSet, name, own_settings, sentinel_set
from tests.support.workers import Assignment, Crew

__all__ = ["name", "own_settings", "sentinel_set"]

_RULES = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=3600.0, call_timeout=None)
# How soon after a failover all is as before: half of it, were the machine not busy.
_SOON = 10.0
_PLACES = 2
_BUSY = {
    "failure_threshold": 1,
    "timeout_seconds": 0.05,
    "reset_timeout": 0.0,
    "success_threshold": 2,
    "half_open_max_calls": _PLACES,
    "call_timeout": None,
}


def _live_through_kills(servers: SentinelSet, name: str, kills: int, folder: Path) -> None:
    buses, heard = Buses(servers.url, name), Heard()
    settings = {"store_timeout": 1.0, "store_retry_interval": 0.5}
    try:
        buses.connect().subscribe("circuit_breaker.*", heard)
        with Crew(3, Assignment(servers.url, name, config=_BUSY, settings=settings)) as crew:
            for number in range(kills):
                _kill_once(servers, crew, heard, folder / str(number))
    finally:
        buses.close()


def _kill_once(servers: SentinelSet, crew: Crew, heard: Heard, end: Path) -> None:
    for worker in crew.workers:
        worker.send("live_through", end=str(end))
    told = len(heard.events)
    wait_until(lambda: len(heard.events) > told, "the fleet is at work")
    victim = servers.primary
    port = victim.port
    assert port is not None
    victim.kill()
    servers.await_other(port)
    told = len(heard.events)
    wait_until(lambda: len(heard.events) > told + 20, "events go on", _SOON)
    end.touch()
    seen = [worker.receive() for worker in crew.workers]
    assert all(each["ended"] for each in seen)
    assert _most_at_once(itertools.chain(*(each["probes"] for each in seen))) <= _PLACES
    servers.bring_back(victim)


def _most_at_once(probes: Iterable[Any]) -> int:
    """Return how many probes of one generation ran at the same time at the most."""
    moments = defaultdict(list)
    for epoch, generation, begun, ended in probes:
        moments[epoch, generation] += [(begun, 1), (ended, -1)]
    assert moments
    return max(
        max(itertools.accumulate(change for _, change in sorted(each))) for each in moments.values()
    )


def test_a_fleet_outlives_its_primary(sentinel_set: SentinelSet, name: str, tmp_path: Path) -> None:
    """SIGKILL under load: no call fails, probes are not more than allowed, events go on."""
    _live_through_kills(sentinel_set, name, kills=2, folder=tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_fleet_outlives_twenty_primaries(
    sentinel_set: SentinelSet, name: str, tmp_path: Path
) -> None:
    """The same, twenty times."""
    _live_through_kills(sentinel_set, name, kills=20, folder=tmp_path)


def test_all_go_to_the_new_primary_when_the_old_one_lives_on(
    sentinel_set: SentinelSet, name: str
) -> None:
    """SENTINEL FAILOVER: calls, views and the bus are on the new primary within seconds."""
    configure(sentinel_set.url, prefix=name, **{**QUIET, "store_timeout": 5.0})
    breaker, strict = (
        CircuitBreaker(service, _RULES, consistency=mode)
        for service, mode in (("viewed", "cached"), ("asked", "strict"))
    )
    buses, heard = Buses(sentinel_set.url, name), Heard()
    try:
        bus = buses.connect()
        for topic in ("circuit_breaker.*", "news"):
            bus.subscribe(topic, heard)
        with sentinel_set.client() as client:
            await_trust(breaker, client)
        assert strict.call(lambda: 5) == 5
        old = sentinel_set.primary
        sentinel_set.order_failover()
        promoted_at = time.monotonic()
        assert [strict.call(lambda: 6), breaker.call(lambda: 7)] == [6, 7]
        there = {
            service: CircuitBreaker(service, _RULES, redis=sentinel_set.client())
            for service in ("viewed", "asked")
        }
        wait_until(lambda: _counts(strict, there["asked"]), "calls are counted there", _SOON)
        wait_until(lambda: bus.publish("news", make_event()) > 0, "the bus is there", _SOON)
        with sentinel_set.client() as client:
            await_trust(breaker, client)
        fail(there["viewed"])
        wait_until(lambda: breaker.call_result(int).was_rejected, "the view is told", _SOON)
        wait_until(lambda: "open" in _states(heard), "the bus is told", _SOON)
        assert time.monotonic() - promoted_at < _SOON
        wait_until(lambda: not _guests(old), "nobody is left at the old one", _SOON)
    finally:
        buses.close()


def _counts(breaker: CircuitBreaker, there: CircuitBreaker) -> bool:
    before = there.stats.total_calls
    breaker.call_result(int)
    return there.stats.total_calls > before


def _states(heard: Heard) -> list[Any]:
    return [event.data.get("state") for _, event in heard.events]


def _guests(server: LocalServer) -> list[Any]:
    """Return the clients of a server that are neither sentinels nor replicas nor us."""
    with server.client() as client:
        mine = str(client.client_id())
        return [
            each
            for each in client.client_list()
            if each["id"] != mine and not each["name"] and not set(each["flags"]) & {"M", "S"}
        ]


class _Pair(NamedTuple):
    """Two primaries, and one sentinel that names the first until it is told otherwise."""

    first: LocalServer
    second: LocalServer
    sentinel: SentinelServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/main"

    def repoint(self) -> None:
        """Have the sentinel name the second."""
        with self.sentinel.client() as client:
            client.execute_command("SENTINEL REMOVE", "main")
            client.execute_command("SENTINEL MONITOR", "main", "127.0.0.1", self.second.port, 1)


@contextmanager
def _make_pair(kind: ServerKind) -> Iterator[_Pair]:
    with (
        start_on_free_port(kind, {}, LocalServer) as first,
        start_on_free_port(kind, {}, LocalServer) as second,
        start_on_free_port(
            kind, {"sentinel": [f"monitor main 127.0.0.1 {first.port} 1"]}, SentinelServer
        ) as sentinel,
    ):
        yield _Pair(first, second, sentinel)
        # In good order it would wait for the other, should that be its replica by now.
        second.kill()


def test_a_primary_that_was_cut_off_is_left_though_it_goes_on_answering(
    sentinel_set: SentinelSet, name: str
) -> None:
    """Once the sentinels name another one, open connections of all kinds go there."""
    with _make_pair(sentinel_set.kind) as pair:
        configure(pair.url, prefix=name, **{**QUIET, "store_timeout": 5.0})
        breaker = CircuitBreaker("svc", _RULES)
        buses, heard = Buses(pair.url, name), Heard()
        try:
            buses.connect(heartbeat_interval=10.0).subscribe("circuit_breaker.*", heard)
            with pair.first.client() as client:
                await_trust(breaker, client)
            assert _guests(pair.first)
            pair.repoint()
            wait_until(lambda: not _guests(pair.first), "nobody is left at the old one", _SOON)
            with pair.second.client() as client:
                await_trust(breaker, client)
            wait_until(lambda: len(_guests(pair.second)) >= 3, "all are at the new one", _SOON)
            fail(CircuitBreaker("svc", _RULES, redis=pair.second.client()))
            wait_until(lambda: heard.states == ["open"], "the bus is told")
            wait_until(lambda: breaker.call_result(int).was_rejected, "the view is told")
        finally:
            buses.close()


def test_a_server_that_was_demoted_behind_the_sentinels_is_left(
    sentinel_set: SentinelSet, name: str
) -> None:
    """READONLY: orders say so, calls go on, and all work again when a primary is named."""
    with _make_pair(sentinel_set.kind) as pair:
        settings = {**QUIET, "store_timeout": 5.0, "store_retry_interval": 0.05}
        configure(pair.url, prefix=name, **settings)
        with pair.first.client() as client:
            await_trust(CircuitBreaker("viewed", _RULES), client)
            breaker = CircuitBreaker("svc", _RULES, consistency="strict")
            fail(breaker)
            client.execute_command("REPLICAOF", "127.0.0.1", pair.second.port)
        # The first over a connection that is open, the second over a new one.
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="is a replica, and no primary"):
                breaker.reset()
        assert breaker.call(lambda: 5) == 5
        # The one that listens is gone as well, and none is made for whom a replica would do.
        wait_until(lambda: not _guests(pair.first), "nobody is left", _SOON)
        with pytest.raises(NoPrimaryError, match="is a replica"):
            client_from_url(pair.url, 5.0).ping()
        pair.repoint()
        there = CircuitBreaker("svc", _RULES, redis=pair.second.client())
        wait_until(lambda: _counts(breaker, there), "the new one is found", _SOON)
        breaker.reset()


def test_calls_go_on_while_all_sentinels_are_frozen(sentinel_set: SentinelSet, name: str) -> None:
    """New connections go to the primary that was named last; each waits for a bounded time."""
    configure(sentinel_set.url, prefix=name, consistency="strict", store_timeout=0.4)
    breaker = CircuitBreaker("svc", _RULES)
    assert breaker.call(lambda: 5) == 5
    primary = sentinel_set.primary
    for sentinel in sentinel_set.sentinels:
        sentinel.pause()
    try:
        with primary.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        begun = time.monotonic()
        breaker.reset()
        assert time.monotonic() - begun < 2.0
        # A process that never knew the primary does without.
        begun = time.monotonic()
        configure(f"{sentinel_set.url}?socket_keepalive=1", prefix=name, store_timeout=0.4)
        assert CircuitBreaker("svc", _RULES).call(lambda: 6) == 6
        assert time.monotonic() - begun < 2.0
    finally:
        for sentinel in sentinel_set.sentinels:
            sentinel.resume()
