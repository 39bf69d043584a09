"""Events, groups and the command line on a Cluster."""

from __future__ import annotations

import json
import threading

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure
from bb5_breaker._core.commands import Outcome, Record, Run
from bb5_breaker._core.policy import Circuit
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.cli import main
from tests.support.buses import Buses, Heard, fail, wait_until
from tests.support.cluster import Cluster

RULES = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=60.0, call_timeout=None)
SERVICES = [f"svc-{number}" for number in range(12)]


FAILURE = (Run(Outcome.FAILURE, 1),)


@pytest.fixture
def breakers(cluster: Cluster, prefix: str) -> list[CircuitBreaker]:
    """Breakers of circuits on all primaries."""
    configure(cluster.url, prefix=prefix, store_timeout=2.0)
    return [CircuitBreaker(service, RULES) for service in SERVICES]


def test_one_connection_hears_of_all_circuits(
    breakers: list[CircuitBreaker], buses: Buses, prefix: str
) -> None:
    """Transitions on any primary are told, once and in order, whichever node is listened on."""
    told = [Heard() for _ in range(4)]
    for heard in told:
        buses.connect().subscribe(f"{prefix}.*", heard)
    for breaker in breakers:
        fail(breaker)
        breaker.reset()
    for heard in told:
        wait_until(lambda: len(heard.events) >= 2 * len(breakers))  # noqa: B023
        assert len(set(heard.ids)) == len(heard.ids) == 2 * len(breakers)
        for service in SERVICES:
            states = [event.data["state"] for _, event in heard.events if event.service == service]
            assert states == ["open", "closed"]


def test_histories_of_all_circuits_are_told_from_the_beginning(
    breakers: list[CircuitBreaker], buses: Buses, prefix: str
) -> None:
    """A subscriber that comes late is told of all circuits first."""
    for breaker in breakers:
        fail(breaker)
    heard = Heard()
    buses.connect().subscribe(f"{prefix}.*", heard, since="beginning")
    wait_until(lambda: len(heard.events) >= len(breakers))
    assert {event.data["service"] for _, event in heard.events} == set(SERVICES)


def test_a_trip_is_pushed_to_the_views_of_processes(
    cluster: Cluster, store: RedisStore, prefix: str
) -> None:
    """Who only listens lets calls through, and rejects them, without asking any node."""
    # Nothing is reported while the test looks, and no busy machine makes the feed look dead.
    quiet = {"flush_interval": 60.0, "heartbeat_interval": 5.0}
    configure(cluster.url, prefix=prefix, store_timeout=2.0, **quiet)
    for service in SERVICES:
        breaker = CircuitBreaker(service, RULES)
        wait_until(lambda: cluster.scripts_run_by(lambda: breaker.call(int)) == 0)  # noqa: B023

        def trip_and_await(breaker: CircuitBreaker = breaker) -> None:
            store.run(Record(Circuit.of(breaker.service_id, RULES), 0, "", FAILURE, "E"))
            wait_until(lambda: breaker.call_result(int).was_rejected)
            for _ in range(100):
                assert breaker.call_result(int).was_rejected

        # The trip itself, and a look by the thread that ends open periods.
        assert cluster.scripts_run_by(trip_and_await) < 10


def test_a_group_shares_what_happens_on_all_primaries(
    breakers: list[CircuitBreaker], buses: Buses
) -> None:
    """Each transition is handled by one consumer of the group."""
    handled: list[str] = []
    lock = threading.Lock()

    def handle(topic: str, event: object) -> None:
        with lock:
            handled.append(event.metadata.event_id)  # type: ignore[attr-defined]

    consumers = [buses.connect().consume("pager", handle) for _ in range(2)]
    for breaker in breakers:
        fail(breaker)
    wait_until(lambda: len(handled) >= len(breakers))
    for consumer in consumers:
        consumer.stop()
    assert len(handled) == len(set(handled)) == len(breakers)


def test_commands_of_the_command_line(
    cluster: Cluster,
    breakers: list[CircuitBreaker],
    prefix: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Listing, one circuit, its history, events and a reset."""
    for breaker in breakers:
        fail(breaker)
    where = ["--redis", cluster.url, "--prefix", prefix]

    def run(*words: str) -> str:
        assert main([*words, *where]) == 0
        return capsys.readouterr().out

    listed = json.loads(run("status", "--json"))
    assert {each["current_state"] for each in listed["circuits"]} == {"open"}
    assert len(listed["circuits"]) == len(SERVICES)
    node = cluster.primary_of(SERVICES[3])
    assert f"-p {node.port}" in run("show", SERVICES[3])
    assert "open" in run("history", SERVICES[3])
    assert len(run("events", "--json").splitlines()) == len(SERVICES)
    run("reset", SERVICES[3])
    assert breakers[3].get_stats()["current_state"] == "closed"
