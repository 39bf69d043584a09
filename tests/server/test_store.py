"""The shared store beyond single commands: pipelines, the registry, scripts that vanish."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.commands import Forget, Outcome, Record, Run, Snapshot
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._core.replies import CircuitSnapshot
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.keys import CircuitKeys, registry_key
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.senders import Sender
from bb5_breaker.exceptions import StoreDataError
from tests.support.servers import RunningServer

CONFIG = CircuitBreakerConfig()
FAILURE = (Run(Outcome.FAILURE, 1),)


@pytest.fixture
def store(server: RunningServer, prefix: str) -> Iterator[RedisStore]:
    """A store on each kind of server, under a prefix of its own."""
    made = RedisStore(client_from_url(server.url, 5.0), StoreRules(prefix=prefix), server.url)
    yield made
    made.close()


@pytest.fixture
def admin(server: RunningServer) -> Iterator[redis.Redis]:
    """A client that may do what the library does not."""
    with server.client() as client:
        yield client


def circuits(number: int) -> list[Circuit]:
    """Return circuits of different services."""
    return [Circuit.of(f"svc-{index}", CONFIG) for index in range(number)]


def test_many_commands_keep_their_order(store: RedisStore) -> None:
    """More commands than one pipeline holds come back in their order."""
    many = circuits(1201)
    store.run_many(
        [
            Record(circuit, 0, "", (Run(Outcome.SUCCESS, index + 1),), "")
            for index, circuit in enumerate(many)
        ]
    )
    replies = store.run_many([Snapshot(circuit) for circuit in many])
    assert [
        reply.total_successes if isinstance(reply, CircuitSnapshot) else reply for reply in replies
    ] == list(range(1, 1202))


def test_a_pipeline_survives_a_script_flush(store: RedisStore, admin: redis.Redis) -> None:
    """Scripts forgotten by the server between two pipelines are loaded again; all count once."""
    many = circuits(40)
    for _ in range(3):
        admin.script_flush()
        store.run_many([Record(circuit, 0, "", FAILURE, "E") for circuit in many])
    for reply in store.run_many([Snapshot(circuit) for circuit in many]):
        assert isinstance(reply, CircuitSnapshot)
        assert reply.total_failures == 3


def test_reports_given_again_with_an_equal_sender_count_once(
    store: RedisStore, admin: redis.Redis
) -> None:
    """Whose fate is unknown is sent again under the same numbers; what follows counts anew."""
    many = circuits(700)
    reports = [Record(circuit, 0, "", FAILURE, "E") for circuit in many]

    def send(number: int) -> None:
        sender = Sender("someone/f0")
        sender.sequence = number
        store.run_many(reports, sender)

    send(0)
    send(0)
    admin.script_flush()
    send(0)
    send(700)
    for reply in store.run_many([Snapshot(circuit) for circuit in many]):
        assert isinstance(reply, CircuitSnapshot)
        assert reply.total_failures == 2


def test_one_damaged_circuit_does_not_spoil_a_pipeline(
    store: RedisStore, admin: redis.Redis, prefix: str
) -> None:
    """A circuit whose key is foreign answers with its error, the others with their figures."""
    many = circuits(3)
    store.run_many([Record(circuit, 0, "", FAILURE, "E") for circuit in many])
    key = CircuitKeys.of(prefix, "svc-1").circuit
    admin.delete(key)
    admin.lpush(key, "foreign")
    replies = store.run_many([Snapshot(circuit) for circuit in many])
    assert [isinstance(reply, CircuitSnapshot) for reply in replies] == [True, False, True]
    assert isinstance(replies[1], StoreDataError)
    assert key.decode() in str(replies[1])
    store.run(Forget(many[1]))
    again = store.run(Snapshot(many[1]))
    assert isinstance(again, CircuitSnapshot)
    assert not again.exists


def test_services_are_registered_once_and_listed(
    store: RedisStore, admin: redis.Redis, prefix: str
) -> None:
    """A circuit's first report puts it into the registry; malformed members are left out."""
    for circuit in circuits(3):
        store.run(Record(circuit, 0, "", FAILURE, "E"))
    registry = registry_key(prefix)
    admin.zadd(registry, {"bad id*": 1, "}": 1, b"\xff": 1})
    assert store.list_services() == ["svc-0", "svc-1", "svc-2"]
    store.drop_service("svc-1")
    assert store.list_services() == ["svc-0", "svc-2"]
    week = 7 * 86_400_000
    assert week < admin.pttl(registry) <= week + 2 * store.rules.idle_ms


def test_a_registry_that_fails_is_made_up_for(
    store: RedisStore, admin: redis.Redis, prefix: str
) -> None:
    """A report counts although its service could not be registered; the next one registers it."""
    registry = registry_key(prefix)
    admin.lpush(registry, "foreign")
    first, second = circuits(2)
    store.run(Record(first, 0, "", FAILURE, "E"))
    admin.delete(registry)
    store.run(Record(second, 0, "", FAILURE, "E"))
    assert store.list_services() == ["svc-0", "svc-1"]
