"""Calls go by what the process knows of a circuit: how it learns, and what it does not believe."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
import redis

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig
from tests.server.cached import QUIET, asked, await_trust, listeners
from tests.server.circuits import eventually
from tests.support.servers import RunningServer, start
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import (
    Bench,
    Keys,
    fail_once,
    make_breaker,
    settings_restored,
)


@pytest.fixture
def own_of_each(server: RunningServer) -> Iterator[RunningServer]:
    """The same on each kind of server."""
    with start(server.kind) as own:
        yield own


def test_all_workers_reject_an_open_circuit_without_asking(
    own_of_each: RunningServer, prefix: str
) -> None:
    """One worker's failures open it; the others never saw one and tell the right time left."""
    rules = {"failure_threshold": 3, "timeout_seconds": 30.0}
    client = own_of_each.client()
    with Crew(4, Assignment(own_of_each.url, prefix, config=rules, settings=QUIET)) as crew:
        failing, *others = crew.workers
        for worker in crew.workers:
            _await_trust_of(worker, client)
        assert failing.ask("calls", outcomes="fff") == "fff"
        ends = int(Keys(client, prefix).field("open_until_ms")) / 1000
        for worker in others:
            eventually(lambda w=worker: w.ask("calls", outcomes="s") == "r", "the push arrives")
        answers: list[dict[str, Any]] = []
        assert asked(client, lambda: answers.extend(crew.ask_all("begin"))) == 0
        seconds, microseconds = client.time()
    for answer in answers:
        assert not answer["admitted"]
        assert answer["state"] == "open"
        assert answer["retry_at"] == pytest.approx(ends, abs=0.002)
        assert answer["remaining"] == pytest.approx(ends - seconds - microseconds / 1e6, abs=1.0)


def test_a_worker_that_begins_while_the_circuit_is_open_soon_rejects_without_asking(
    own_server: RunningServer, prefix: str
) -> None:
    """No call of it was ever let through, and it listens all the same."""
    bench = Bench(own_server.client(), own_server.url, prefix, failure_threshold=1)
    bench.record("f")
    breaker = make_breaker(own_server.url, prefix, settings=QUIET)
    client = own_server.client()
    eventually(lambda: asked(client, lambda: _is_rejected(breaker)) == 0, "rejects by the view")


def test_calls_are_local_again_when_half_open_closes(
    own_server: RunningServer, prefix: str
) -> None:
    """A probe takes two round trips; the first call after the last one asks at the most once."""
    client = own_server.client()
    breaker = make_breaker(
        own_server.url,
        prefix,
        settings=QUIET,
        failure_threshold=1,
        timeout_seconds=0.2,
        success_threshold=3,
    )
    await_trust(breaker, client)
    fail_once(breaker)
    assert _is_rejected(breaker)
    eventually(lambda: not _is_rejected(breaker), "the first probe")
    assert asked(client, lambda: breaker.call(int)) <= 2
    assert asked(client, lambda: breaker.call(int)) <= 2
    assert asked(client, lambda: breaker.call(int)) <= 1
    assert asked(client, lambda: [breaker.call(int) for _ in range(100)]) == 0
    assert Keys(client, prefix).field("state") == "closed"


def test_after_another_process_closed_a_half_open_circuit_calls_are_local_again(
    own_server: RunningServer, prefix: str
) -> None:
    """A process that only rejected and was never a probe needs one question."""
    client = own_server.client()
    breaker = make_breaker(own_server.url, prefix, settings=QUIET)
    await_trust(breaker, client)
    rules = {"failure_threshold": 1, "timeout_seconds": 0.1, "success_threshold": 1}
    with Crew(1, Assignment(own_server.url, prefix, config=rules)) as crew:
        (other,) = crew.workers
        assert other.ask("calls", outcomes="f") == "f"
        eventually(lambda: other.ask("calls", outcomes="s") == "s", "the probe")
        # The process may not have looked at the circuit in all that time.
        assert other.ask("state") == "closed"
    eventually(lambda: asked(client, lambda: breaker.call_result(int)) == 0, "the push arrives")
    assert asked(client, lambda: [breaker.call(int) for _ in range(20)]) <= 1


def test_a_reset_of_a_closed_circuit_is_heard(own_server: RunningServer, prefix: str) -> None:
    """It is no transition, but calls are of the new life at once: a failure after it counts."""
    client = own_server.client()
    breaker = make_breaker(own_server.url, prefix, settings=QUIET)
    fail_once(breaker)
    await_trust(breaker, client)
    bench = Bench(client, own_server.url, prefix)
    bench.reset()
    eventually(lambda: asked(client, lambda: breaker.call(int)) > 0, "the notice arrives")
    for _ in range(2):
        fail_once(breaker)
    assert bench.keys.field("failures") == "2"


def test_a_circuit_deleted_by_another_process_is_looked_at_again(
    own_server: RunningServer, prefix: str
) -> None:
    """forget() on an open circuit lets calls through everywhere, and they count."""
    client = own_server.client()
    breaker = make_breaker(own_server.url, prefix, settings=QUIET, failure_threshold=1)
    await_trust(breaker, client)
    fail_once(breaker)
    assert _is_rejected(breaker)
    other = CircuitBreaker("svc", CircuitBreakerConfig(), redis=own_server.client())
    other.forget()
    eventually(lambda: not _is_rejected(breaker), "the notice arrives")
    fail_once(breaker)
    assert Keys(client, prefix).field("state") == "open"


def _event(**changes: Any) -> dict[str, Any]:
    data = {
        "service": "svc",
        "state": "open",
        "failure_count": 5,
        "generation": 1,
        "epoch": "e",
        "last_error": "",
        "open_until_ms": 4_000_000_000_000,
    }
    metadata = {
        "event_id": "1:svc",
        "event_type": f"circuit.{'opened' if data['state'] == 'open' else data['state']}",
        "timestamp": "2030-01-01T00:00:00.000Z",
    }
    for name, value in changes.items():
        (metadata if name in metadata else data)[name] = value
    return {"metadata": metadata, "data": data}


def _json(epoch: str, **changes: Any) -> bytes:
    return json.dumps(_event(**{"epoch": epoch, **changes})).encode()


_HOSTILE: dict[str, Callable[[str], bytes]] = {
    "empty": lambda _: b"",
    "garbage": lambda _: bytes(range(256)),
    "huge": lambda _: b"x" * 2_000_000,
    "deep": lambda _: b"\x91" * 10_000,
    "deep-json": lambda _: b'{"metadata":' + b"[" * 5_000,
    "no-envelope": lambda _: b"{}",
    "no-text": lambda _: b'{"metadata": {"event_type": "\xff"}}',
    "data-is-a-list": lambda _: b'{"metadata": {"event_type": "circuit.opened"}, "data": []}',
    "wrong-types": lambda e: _json(e, open_until_ms="soon", last_error=[], timestamp="now"),
    "fields-missing": lambda e: msgpack.packb({"metadata": _event()["metadata"], "data": {}}),
    "other-service": lambda e: _json(e, service="other"),
    "half-a-generation": lambda e: _json(e, generation=1.5),
    "negative": lambda e: _json(e, open_until_ms=-1),
    "nan": lambda e: _json(e, open_until_ms=float("nan")),
    "infinite": lambda e: _json(e, open_until_ms=float("inf")),
    "without-end": lambda e: _json(e, open_until_ms=10**400),
    "far-future": lambda e: _json(e, open_until_ms=10**17),
    "far-past": lambda e: _json(e, timestamp="0001-01-01T00:00:00+23:59"),
    "other-life": lambda _: _json("another"),
    "gap": lambda e: _json(e, generation=1001),
    "huge-generation": lambda e: _json(e, generation=10**300),
    "fake-open": _json,
    "fake-half-open": lambda e: _json(e, state="half_open", event_type="circuit.half_open"),
    "fake-closed": lambda e: _json(e, state="closed", event_type="circuit.closed"),
}


@pytest.mark.parametrize("kind", _HOSTILE)
def test_foreign_messages_break_nothing_and_the_store_prevails(
    own_server: RunningServer, prefix: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is published on the circuit's channel, soon a failure counts and a trip rejects."""
    client = own_server.client()
    breaker = make_breaker(
        own_server.url,
        prefix,
        settings={"flush_interval": 0.02, "heartbeat_interval": 5.0},
        failure_threshold=2,
    )
    fail_once(breaker)
    await_trust(breaker, client)
    before = listeners(client)
    keys = Keys(client, prefix)
    with caplog.at_level(logging.WARNING, logger="bb5_breaker"):
        client.publish(f"{prefix}.svc", _HOSTILE[kind](keys.field("epoch")))
        client.publish(f"{prefix}:views", _HOSTILE[kind](keys.field("epoch")))
        eventually(
            lambda: breaker.call_result(_raise) and keys.field("state") == "open",
            "failures count",
            seconds=2.0,
        )
        eventually(lambda: _is_rejected(breaker), "the trip is believed", seconds=2.0)
        # Whoever hears of this has read all that was sent before.
        Bench(client, own_server.url, prefix).reset()
        eventually(lambda: not _is_rejected(breaker), "calls go through again", seconds=2.0)
    assert caplog.messages == []
    assert listeners(client) == before, "the connection was lost"


def test_a_fake_closing_of_an_open_circuit_soon_ends(
    own_server: RunningServer, prefix: str
) -> None:
    """The first report of a call that it let through brings the truth back."""
    client = own_server.client()
    breaker = make_breaker(
        own_server.url,
        prefix,
        settings={"flush_interval": 0.02, "heartbeat_interval": 5.0},
        failure_threshold=1,
    )
    await_trust(breaker, client)
    fail_once(breaker)
    epoch = Keys(client, prefix).field("epoch")
    fake = _json(epoch, state="closed", event_type="circuit.closed", generation=2)
    client.publish(f"{prefix}.svc", fake)
    let_through: list[float] = []
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + 1.0:
        if not _is_rejected(breaker):
            let_through.append(now - begun)
        time.sleep(0.001)
    assert not let_through or let_through[-1] - let_through[0] < 0.5, let_through
    assert Keys(client, prefix).field("generation") == "1"


def test_a_user_who_may_not_subscribe_works_as_in_strict_mode(
    own_of_each: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call asks, all counts, and one line tells why, for all circuits."""
    admin = own_of_each.client()
    rights = ("~*", "&*", "+@all", "-subscribe", "-psubscribe")
    admin.execute_command("ACL", "SETUSER", "deaf", "on", ">secret", *rights)
    url = own_of_each.admin_url.replace("://", "://deaf:secret@")
    with caplog.at_level(logging.WARNING, logger="bb5_breaker"):
        breakers = [
            make_breaker(url, prefix, f"svc-{number}", settings=QUIET, failure_threshold=3)
            for number in range(5)
        ]
        for breaker in breakers:
            breaker.call(int)
        eventually(lambda: caplog.messages, "the line")
        for breaker in breakers:
            assert asked(admin, lambda b=breaker: [b.call(int) for _ in range(5)]) == 10
            for _ in range(3):
                fail_once(breaker)
            assert _is_rejected(breaker)
            assert Keys(admin, prefix, breaker.service_id).field("state") == "open"
    assert len(caplog.messages) == 1
    assert f"{prefix}:views" in caplog.messages[0]
    assert "secret" not in caplog.text


def test_reconfiguring_moves_calls_at_once_and_leaves_nothing_behind(
    own_server: RunningServer, prefix: str
) -> None:
    """Threads and connections of the old settings go away when nobody uses them any more."""
    client = own_server.client()
    before = set(threading.enumerate())
    settings = {"flush_interval": 0.02, "heartbeat_interval": 5.0}
    breaker = make_breaker(own_server.url, f"{prefix}-a", settings=settings)
    eventually(lambda: breaker.call(int) or _new_threads(before) == _THREADS, "both threads run")
    old = set(threading.enumerate()) - before
    with settings_restored():
        make_breaker(own_server.url, f"{prefix}-b", "another", settings=settings)
        breaker.call(int)
        there = Keys(client, f"{prefix}-b")
        eventually(lambda: there.field("total_successes") == "1", "it followed")
        eventually(
            lambda: not any(thread.is_alive() for thread in old),
            f"these end: {[thread.name for thread in old]}",
        )
        eventually(lambda: len(listeners(client)) == 1, "the old connection is closed")


def test_one_connection_and_two_threads_serve_any_number_of_circuits(
    own_server: RunningServer, prefix: str
) -> None:
    """A hundred circuits are heard over one connection and reported by one thread."""
    client = own_server.client()
    before = set(threading.enumerate())
    breakers = [
        make_breaker(own_server.url, prefix, f"svc-{number}", settings=QUIET)
        for number in range(100)
    ]
    for breaker in breakers:
        breaker.call(int)
    eventually(lambda: len(listeners(client, 101)) == 1, "one for all, and the notices")
    for breaker in breakers:
        await_trust(breaker, client)
    assert _new_threads(before) == _THREADS
    assert len(listeners(client)) == 1


def test_a_strict_breaker_asks_beside_a_cached_one_of_the_same_circuit(
    own_server: RunningServer, prefix: str
) -> None:
    """What one breaker knows does not leak into one that is to ask each time."""
    client = own_server.client()
    follows = make_breaker(own_server.url, prefix, settings=QUIET)
    cached = CircuitBreaker("svc", follows.config, consistency="cached")
    await_trust(follows, client)
    await_trust(cached, client)
    with settings_restored():
        make_breaker(own_server.url, prefix, settings={**QUIET, "consistency": "strict"})
        await_trust(cached, client)
        assert asked(client, lambda: [follows.call(int) for _ in range(5)]) == 10
        assert asked(client, lambda: [cached.call(int) for _ in range(5)]) == 0


def _await_trust_of(worker: Any, client: redis.Redis) -> None:
    eventually(
        lambda: asked(client, lambda: worker.ask("calls", outcomes="s")) == 0,
        "calls go by the view",
        seconds=15.0,
    )


_THREADS = ["bb5-breaker-feed", "bb5-breaker-flush"]


def _new_threads(before: set[threading.Thread]) -> list[str]:
    return sorted(thread.name for thread in set(threading.enumerate()) - before)


def _is_rejected(breaker: CircuitBreaker) -> bool:
    return bool(breaker.call_result(int).was_rejected)


def _raise() -> None:
    raise ValueError
