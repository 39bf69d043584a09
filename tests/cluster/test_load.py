"""Circuits under load while primaries die and slots move."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

import pytest
from redis.crc import key_slot

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure
from bb5_breaker._core.commands import Outcome, Record, Run, Snapshot
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView
from bb5_breaker._store.event_log import Entry, EventLog
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.senders import Sender
from bb5_breaker.events import CircuitEvent, Event
from bb5_breaker.exceptions import StoreError, StoreUnavailableError
from tests.support.buses import Buses, wait_until
from tests.support.cluster import Cluster, wait_for
from tests.support.cluster_load import Load, most_at_once

LONGEST_SILENCE = 5.0
RULES = CircuitBreakerConfig(failure_threshold=1_000_000, call_timeout=None)
SUCCESS = (Run(Outcome.SUCCESS, 1),)
SERVICES = [f"svc-{number}" for number in range(9)]


class Witness:
    """A handler that notes transitions, and when it heard of each."""

    def __init__(self) -> None:
        self.events: dict[str, list[CircuitEvent]] = defaultdict(list)
        self.heard_at: dict[str, float] = defaultdict(float)

    def __call__(self, topic: str, event: Event) -> None:
        """Note an event."""
        if isinstance(event, CircuitEvent):
            self.events[event.service].append(event)
            self.heard_at[event.service] = time.monotonic()

    def await_news(self, services: list[str]) -> float:
        """Wait for a transition of each circuit; return the seconds that it took."""
        began = time.monotonic()
        silent = list(services)
        while silent:
            assert time.monotonic() - began < 20.0, f"no transition of {silent} was heard"
            time.sleep(0.01)
            silent = [each for each in silent if self.heard_at[each] <= began]
        return time.monotonic() - began


@pytest.fixture
def witness(buses: Buses, prefix: str) -> Witness:
    """What hears of all circuits of the test."""
    made = Witness()
    buses.connect(timeout=1.0).subscribe(f"{prefix}.*", made)
    return made


def kept_by(store: RedisStore, services: list[str]) -> set[str]:
    """Return the ids of the latest transitions that the histories have."""
    found: dict[str, list[Entry] | StoreError] = {}

    def are_read() -> bool:
        # Who asks a node that died just now is told so, and finds the new one the next time.
        found.update(EventLog(store).read_last(services, 256))
        return all(isinstance(entries, list) for entries in found.values())

    wait_until(are_read, "histories")
    return {
        entry.event.metadata.event_id
        for entries in found.values()
        if isinstance(entries, list)
        for entry in entries
        if entry.event is not None
    }


def kill_primaries(cluster: Cluster, store: RedisStore, witness: Witness, times: int) -> None:
    """Kill primaries under load, and check what calls, probes and subscribers saw."""
    kept: set[str] = set()
    with Load(cluster.url, store.rules.prefix) as load:
        witness.await_news(load.services)
        for number in range(times):
            if number:
                cluster.heal()
            service = load.services[number % len(load.services)]
            victim = cluster.primary_of(service)
            victim.kill()
            assert witness.await_news(load.services) < LONGEST_SILENCE
            # Started again sooner, it would serve as before, with an empty memory.
            wait_for(lambda: cluster.primary_of(service) is not victim, "a replica to take over")  # noqa: B023
            kept |= kept_by(store, load.services)
        probes, calls = load.finish()
    kept |= kept_by(store, load.services)
    assert calls > 100
    assert probes
    assert 1 <= most_at_once(probes) <= load.places
    lost = 0
    for events in witness.events.values():
        ids = [event.metadata.event_id for event in events]
        assert len(ids) == len(set(ids))
        # What the replica had when it took over, and what came after it.
        lasting = [event for event in events if event.metadata.event_id in kept]
        lost += len(events) - len(lasting)
        for before, after in pairwise(lasting):
            assert after.generation > before.generation, f"{before} and then {after}"
    assert lost <= 3 * times, "replication should have been quicker"


def test_primaries_are_killed_under_load(
    cluster: Cluster, store: RedisStore, witness: Witness
) -> None:
    """No call fails for it, probes stay within their places, and events go on."""
    kill_primaries(cluster, store, witness, 2)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_twenty_primaries_are_killed_under_load(
    cluster: Cluster, store: RedisStore, witness: Witness
) -> None:
    """The same, for as long as it takes."""
    kill_primaries(cluster, store, witness, 20)


class Mover:
    """Moves the slots of keys from primary to primary, for as long as it is entered."""

    def __init__(self, cluster: Cluster, keys: list[str]) -> None:
        self._cluster = cluster
        self._keys = keys
        self._over = threading.Event()
        self.rounds = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            for key in self._keys:
                ports = sorted(self._cluster.primaries())
                here = self._cluster.primary_of(key).port or 0
                target = ports[(ports.index(here) + 1) % len(ports)]
                self._cluster.move_slot(
                    key_slot(key.encode()), target, pause=lambda: time.sleep(0.005)
                )
            self.rounds += 1

    def __enter__(self) -> Mover:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def errors_told(cluster: Cluster) -> dict[str, int]:
    """Return how often nodes answered with each code of an error."""
    told: dict[str, int] = defaultdict(int)
    for node in cluster.nodes:
        with node.client() as client:
            for name, stats in client.info("errorstats").items():
                told[name.removeprefix("errorstat_")] += stats["count"]
    return told


def send_until_taken(store: RedisStore, name: str, times: int) -> None:
    """Report one success at a time in each circuit, again under its number until it is taken."""
    circuits = [Circuit.of(service, RULES) for service in SERVICES]
    number = 0
    for _ in range(times):
        reports = [Record(circuit, 0, "", SUCCESS, "") for circuit in circuits]
        numbers = list(range(number + 1, number + 1 + len(reports)))
        number = numbers[-1]
        while reports:
            replies = store.run_many(reports, Sender(name), numbers)
            left = [
                (report, number)
                for report, number, reply in zip(reports, numbers, replies, strict=True)
                if not isinstance(reply, CircuitView)
            ]
            assert all(isinstance(reply, CircuitView | StoreUnavailableError) for reply in replies)
            reports = [report for report, _ in left]
            numbers = [number for _, number in left]


def _has_told(cluster: Cluster, before: Mapping[str, int]) -> bool:
    told = errors_told(cluster)
    return all(told[code] > before[code] for code in ("MOVED", "ASK", "TRYAGAIN"))


def test_slots_that_move_lose_and_double_nothing(
    cluster: Cluster, store: RedisStore, prefix: str
) -> None:
    """Reports are counted once each, and the list is whole, while all slots are on their way."""
    store.run_many([Record(Circuit.of(name, RULES), 0, "", SUCCESS, "") for name in SERVICES])
    before = errors_told(cluster)
    with Mover(cluster, [*SERVICES, f"{prefix}:services"]) as mover:
        threads: list[threading.Thread] = []
        for number in range(3):
            arguments = (store, f"tests/{number}", 100)
            threads.append(threading.Thread(target=send_until_taken, args=arguments))
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert store.list_services() == SERVICES
        sent, ends = 301, time.monotonic() + 20.0
        # What a slot on its way is answered with depends on the moment.
        while not _has_told(cluster, before):
            assert time.monotonic() < ends, errors_told(cluster)
            send_until_taken(store, f"tests/more-{sent}", 10)
            assert store.list_services() == SERVICES
            sent += 10
    assert mover.rounds
    for service in SERVICES:
        found = store.run(Snapshot(Circuit.of(service, RULES)))
        assert isinstance(found, CircuitSnapshot)
        assert found.total_successes == sent


@pytest.mark.parametrize("mode", ["cached", "strict"])
def test_calls_through_circuits_that_move_are_counted_once(
    cluster: Cluster, prefix: str, mode: str
) -> None:
    """Whatever a call meets at a slot on its way, it goes on, and its outcome arrives."""
    configure(cluster.url, prefix=prefix, consistency=mode, store_timeout=5.0, flush_interval=0.01)
    breakers = [CircuitBreaker(service, RULES) for service in SERVICES]
    for breaker in breakers:
        breaker.call(int)
    calls = 1

    def call_all() -> None:
        nonlocal calls
        calls += 1
        for breaker in breakers:
            breaker.call(int)

    with Mover(cluster, SERVICES) as mover:
        for _ in range(300):
            call_all()
    assert mover.rounds

    def is_counted() -> bool:
        # A part of the store that refused is asked again by a call.
        call_all()
        return all(breaker.get_stats()["successful_calls"] == calls for breaker in breakers)

    wait_until(is_counted, "all calls are counted")
