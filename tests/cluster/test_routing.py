"""Requests follow their slots, are carried out once, and fail at once where they can not be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis.crc import key_slot

from bb5_breaker import CircuitBreaker, configure
from bb5_breaker._core.commands import Outcome, Record, Run, Snapshot
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView
from bb5_breaker._store.opening import open_store
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.senders import Sender
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.configuration import Settings
from bb5_breaker.exceptions import StoreError, StoreUnavailableError
from tests.support.buses import fail, wait_until
from tests.support.cluster import Cluster, wait_for

RULES = CircuitBreakerConfig()
SUCCESS = (Run(Outcome.SUCCESS, 1),)
CIRCUITS = [Circuit.of(f"svc-{number}", RULES) for number in range(12)]


def report(circuit: Circuit) -> Record:
    """Make a report of one success in a circuit that nobody knows yet, or that is closed."""
    return Record(circuit, 0, "", SUCCESS, "")


def successes(store: RedisStore, circuit: Circuit) -> int:
    """Return how many were counted."""
    found = store.run(Snapshot(circuit))
    assert isinstance(found, CircuitSnapshot)
    return found.total_successes


def errors_told(cluster: Cluster, code: str) -> int:
    """Return how often nodes answered with an error of a code."""
    told = 0
    for node in cluster.nodes:
        with node.client() as client:
            told += client.info("errorstats").get(f"errorstat_{code}", {}).get("count", 0)
    return told


def next_port(cluster: Cluster, port: int) -> int:
    """Return the port of another primary."""
    return next(each for each in sorted(cluster.primaries()) if each != port)


@pytest.fixture
def half_covered(cluster: Cluster) -> Iterator[None]:
    """Slots that nobody serves do not stop the others."""
    setting = "cluster-require-full-coverage"
    for value in ("no", "yes"):
        cluster.resume_all()
        for node in cluster.nodes:
            wait_for(node.answers, "a node to answer")
            with node.client() as client:
                client.config_set(setting, value)
        if value == "no":
            yield


def test_a_moved_slot_is_followed_in_the_same_call(cluster: Cluster, store: RedisStore) -> None:
    """The call that meets MOVED goes on at the new node, and is counted once."""
    circuit = CIRCUITS[0]
    store.run(report(circuit))
    before = store.part_of(circuit.service)
    target = next_port(cluster, int(before.rpartition(":")[2]))
    cluster.move_slot(key_slot(circuit.service.encode()), target)
    told = errors_told(cluster, "MOVED")
    store.run(report(circuit))
    assert errors_told(cluster, "MOVED") > told
    assert store.part_of(circuit.service) == f"127.0.0.1:{target}"
    assert successes(store, circuit) == 2


def test_the_whole_map_is_read_soon_after_a_move(cluster: Cluster, store: RedisStore) -> None:
    """Of many slots that moved at once hardly more than the first pays for it."""
    for circuit in CIRCUITS:
        store.run(report(circuit))
    # Longer than the least time between two readings of the map.
    time.sleep(1.1)
    for circuit in CIRCUITS:
        port = cluster.primary_of(circuit.service).port or 0
        cluster.move_slot(key_slot(circuit.service.encode()), next_port(cluster, port))
    told = errors_told(cluster, "MOVED")
    for circuit in CIRCUITS:
        store.run(report(circuit))
    # What other tests left running may meet some as well.
    assert 1 <= errors_told(cluster, "MOVED") - told <= len(CIRCUITS) / 3
    assert [successes(store, circuit) for circuit in CIRCUITS] == [2] * len(CIRCUITS)


def test_many_requests_at_once_follow_their_slots(cluster: Cluster, store: RedisStore) -> None:
    """In a batch each request is carried out once, by the node that serves it by now."""
    reports = [report(circuit) for circuit in CIRCUITS for _ in range(3)]
    store.run_many(reports)
    for circuit in CIRCUITS[::2]:
        port = cluster.primary_of(circuit.service).port or 0
        cluster.move_slot(key_slot(circuit.service.encode()), next_port(cluster, port))
    told = errors_told(cluster, "MOVED")
    replies = store.run_many(reports)
    assert errors_told(cluster, "MOVED") > told
    assert all(isinstance(reply, CircuitView) for reply in replies)
    assert [successes(store, circuit) for circuit in CIRCUITS] == [6] * len(CIRCUITS)


def test_a_key_that_is_on_its_way_is_asked_for_where_it_went(
    cluster: Cluster, store: RedisStore, prefix: str
) -> None:
    """While the slot of the list is moved, the list is read and written at its new place."""
    store.run(report(CIRCUITS[0]))
    listed: list[list[str]] = []

    def look() -> None:
        store.run(report(CIRCUITS[1]))
        listed.append(store.list_services())

    key = f"{prefix}:services"
    told = errors_told(cluster, "ASK")
    target = next_port(cluster, cluster.primary_of(key).port or 0)
    cluster.move_slot(key_slot(key.encode()), target, pause=look)
    assert errors_told(cluster, "ASK") > told
    assert listed == [[CIRCUITS[0].service, CIRCUITS[1].service]]
    assert store.list_services() == listed[0]
    assert cluster.primary_of(key).port == target


def test_a_circuit_on_its_way_is_refused_at_once_and_loses_nothing(
    cluster: Cluster, store: RedisStore
) -> None:
    """With some of a circuit's keys here and some there nothing is carried out."""
    circuit = CIRCUITS[0]
    store.run(report(circuit))
    sender = Sender("tests/0")
    refused: list[StoreError] = []

    def attempt() -> None:
        # As the reports of a process: again under the same number.
        sender.sequence = 0
        (reply,) = store.run_many([report(circuit)], sender)
        if isinstance(reply, StoreUnavailableError):
            refused.append(reply)
        with pytest.raises(StoreUnavailableError):
            store.run(report(circuit))

    target = next_port(cluster, cluster.primary_of(circuit.service).port or 0)
    cluster.move_slot(key_slot(circuit.service.encode()), target, pause=attempt)
    assert refused
    sender.sequence = 0
    store.run_many([report(circuit)], sender)
    store.run_many([report(circuit)], Sender("tests/1"))
    assert successes(store, circuit) == 3


def test_trouble_with_a_circuit_on_its_way_is_over_when_it_has_arrived(
    cluster: Cluster, prefix: str
) -> None:
    """A circuit that is served elsewhere by now leaves no trouble behind where it was."""
    configure(cluster.url, prefix=prefix, consistency="strict", store_retry_interval=0.05)
    breaker = CircuitBreaker("wanderer", RULES)
    breaker.call(int)
    link = breaker._link()
    troubles: list[StoreError | None] = []

    def call() -> None:
        breaker.call(int)
        troubles.append(link.failing)

    target = next_port(cluster, cluster.primary_of("wanderer").port or 0)
    cluster.move_slot(key_slot(b"wanderer"), target, pause=call)
    assert any(troubles)
    breaker.call(int)
    wait_until(lambda: breaker.call(int) == 0 and link.failing is None)


@pytest.mark.usefixtures("half_covered")
def test_a_dead_node_costs_the_others_nothing(cluster: Cluster, prefix: str) -> None:
    """Replies of living nodes are not lost, their calls do not wait, and the rest is said."""
    timeout = 0.3
    store = open_store(cluster.url, Settings(prefix=prefix).rules, timeout)
    assert isinstance(store, RedisStore)
    circuits = [Circuit.of(f"svc-{number}", RULES) for number in range(60)]
    store.run_many([report(circuit) for circuit in circuits])
    # The list is on the node that dies: who is alive must not wait for it, either.
    victim = cluster.primary_of(f"{prefix}:services")
    dead = f"127.0.0.1:{victim.port}"
    here = [circuit for circuit in circuits if store.part_of(circuit.service) != dead]
    there = [circuit for circuit in circuits if store.part_of(circuit.service) == dead]
    assert here
    assert there
    cluster.replica_of(victim.port or 0).pause()
    victim.pause()

    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        store.run(report(there[0]))
    assert time.monotonic() - began < 2 * timeout
    replies = store.run_many([report(circuit) for circuit in circuits])
    for circuit, reply in zip(circuits, replies, strict=True):
        assert isinstance(reply, StoreUnavailableError if circuit in there else CircuitView)

    lives = {store.part_of(circuit.service) for circuit in here}
    named = [Circuit.of(f"late-{number}", RULES) for number in range(100)]
    news = [each for each in named if store.part_of(each.service) in lives]
    began = time.monotonic()
    for circuit in news:
        # Each is to be listed.
        store.run(report(circuit))
    spent = time.monotonic() - began
    assert spent < timeout * (2 + spent), "more than one attempt a second to write the list"


@pytest.mark.usefixtures("half_covered")
def test_reports_of_living_nodes_go_on(cluster: Cluster, store: RedisStore, prefix: str) -> None:
    """A frozen node holds up what its own circuits have to report, and loses none of it."""
    configure(cluster.url, prefix=prefix, store_timeout=0.3, store_retry_interval=0.2)
    breakers = [CircuitBreaker(circuit.service, RULES) for circuit in CIRCUITS]
    calls = 0

    def call_all() -> None:
        nonlocal calls
        calls += 1
        for breaker in breakers:
            breaker.call(int)

    # Until nobody asks: then the first to meet the frozen node are reports.
    wait_until(lambda: cluster.scripts_run_by(call_all) == 0)
    store.run_many([Snapshot(circuit) for circuit in CIRCUITS])
    victim = cluster.primary_of(CIRCUITS[0].service)
    dead = f"127.0.0.1:{victim.port}"
    here = [circuit for circuit in CIRCUITS if store.part_of(circuit.service) != dead]
    cluster.replica_of(victim.port or 0).pause()
    victim.pause()
    for breaker in breakers:
        if breaker.service_id not in {circuit.service for circuit in here}:
            # Sent at once; whether it arrived nobody knows.
            fail(breaker)
    for _ in range(50):
        call_all()
    wait_until(lambda: all(successes(store, circuit) == calls for circuit in here))
    cluster.resume_all()

    def is_counted() -> bool:
        # Whoever took over has to be found, and a part that refused is asked again by a call.
        call_all()
        with suppress(StoreUnavailableError, AssertionError):
            wait_until(lambda: all(successes(store, one) == calls for one in CIRCUITS), seconds=1.0)
            return True
        return False

    wait_until(is_counted)
    for circuit in CIRCUITS:
        found = store.run(Snapshot(circuit))
        assert isinstance(found, CircuitSnapshot)
        assert found.total_failures == (circuit not in here)


@pytest.mark.usefixtures("half_covered")
def test_a_map_is_read_from_whoever_lives(cluster: Cluster, prefix: str) -> None:
    """With nodes that are gone in the URL a store finds its way after one time-out at the most."""
    timeout = 0.3
    frozen = cluster.nodes[0]
    url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{frozen.port},127.0.0.1:{cluster.ports[1]}"
    frozen.pause()
    store = open_store(url, Settings(prefix=prefix).rules, timeout)
    assert isinstance(store, RedisStore)
    outcomes: Counter[str] = Counter()
    dead = f"127.0.0.1:{frozen.port}"
    for circuit in CIRCUITS:
        began = time.monotonic()
        try:
            store.run(report(circuit))
            outcomes["done"] += 1
        except StoreUnavailableError:
            outcomes["refused"] += 1
            assert store.part_of(circuit.service) in ("", dead)
        assert time.monotonic() - began < 2 * timeout
    assert outcomes["done"] >= len(CIRCUITS) / 3
