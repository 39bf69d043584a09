"""Open periods end by themselves: announced once, soon, with no call at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig
from bb5_breaker._core.commands import Outcome
from tests.server.cached import QUIET, asked, await_trust, listeners
from tests.server.circuits import eventually
from tests.support.servers import RunningServer, start
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import Bench, Keys, fail, fail_once, make_breaker

_SOON_MS = 500
_RULES: dict[str, Any] = {"failure_threshold": 1, "timeout_seconds": 0.3, "reset_timeout": 0.0}
_OPENED_AND_RECOVERED = [("open", 1), ("half_open", 2)]


class Ear:
    """Hears the transitions of one circuit as Redis publishes them."""

    def __init__(self, client: redis.Redis, channel: str) -> None:
        self._hearing = client.pubsub()
        self._hearing.subscribe(channel)
        self._hearing.get_message(timeout=5.0)

    def messages(self, seconds: float) -> list[bytes]:
        """Return what is published in that time."""
        heard, until = [], time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            message = self._hearing.get_message(timeout=left)
            if message is not None:
                heard.append(message["data"])
        return heard


@pytest.fixture
def ear(any_server: RunningServer, prefix: str) -> Iterator[Ear]:
    """An ear on the channel of `svc`."""
    client = any_server.client()
    yield Ear(client, f"{prefix}.svc")
    client.close()


def _await_half_open(keys: Keys, seconds: float = 10.0) -> int:
    """Wait for it, and return the ms between the end of the open period and the transition."""
    eventually(lambda: keys.field("state") == "half_open", "half-open without a call", seconds)
    return int(keys.field("half_open_ms")) - int(keys.field("open_until_ms"))


@pytest.mark.usefixtures("both_modes")
def test_an_idle_circuit_is_half_open_soon_after_its_open_period(
    server: RunningServer, prefix: str
) -> None:
    """With no traffic at all, also for the circuit of a process that listens to nothing."""
    breaker = make_breaker(server.url, prefix, **_RULES)
    fail_once(breaker)
    keys = Keys(server.client(), prefix)
    assert 0 <= _await_half_open(keys) < _SOON_MS
    assert keys.transitions() == _OPENED_AND_RECOVERED
    assert breaker.service_id == "svc"


@pytest.mark.usefixtures("both_modes")
def test_a_circuit_recovers_again_and_again(any_server: RunningServer, prefix: str) -> None:
    """Each reopening has its own end, and the thread sees to all circuits of the process."""
    keys = Keys(any_server.client(), prefix)
    breaker = make_breaker(
        any_server.url, prefix, failure_threshold=1, timeout_seconds=0.1, reset_timeout=0.0
    )
    others = [CircuitBreaker(f"other-{number}", breaker.config) for number in range(20)]
    for other in others:
        other.call_result(fail)
    for generation in (2, 4, 6):
        fail_once(breaker)
        assert _await_half_open(keys) < _SOON_MS
        assert int(keys.field("generation")) == generation
    for other in others:
        assert 0 <= _await_half_open(Keys(any_server.client(), prefix, other.service_id)) < _SOON_MS


def test_fifty_listening_processes_make_one_transition(
    any_server: RunningServer, prefix: str, ear: Ear
) -> None:
    """All know the deadline, all are idle: one transition, one event, one generation."""
    keys = Keys(any_server.client(), prefix)
    rules = {"failure_threshold": 1, "timeout_seconds": 2.0}
    assignment = Assignment(any_server.url, prefix, config=rules)
    with Crew(50, assignment) as crew:
        crew.ask_all("calls", outcomes="s")
        client = any_server.client()
        eventually(lambda: client.pubsub_numsub(f"{prefix}.svc")[0][1] == 51, "all listen")
        assert crew.workers[0].ask("calls", outcomes="f") == "f"
        assert 0 <= _await_half_open(keys) < _SOON_MS
        # Long enough for the last one's turn.
        assert len(ear.messages(0.5)) == 2
    assert keys.transitions() == _OPENED_AND_RECOVERED
    assert keys.field("generation") == "2"


def test_after_the_tripping_process_was_killed_another_ends_the_open_period(
    any_server: RunningServer, prefix: str
) -> None:
    """It only listens, and never saw a failure."""
    keys, client = Keys(any_server.client(), prefix), any_server.client()
    with Crew(2, Assignment(any_server.url, prefix, config=_RULES)) as crew:
        tripping, listening = crew.workers
        listening.ask("calls", outcomes="s")
        eventually(lambda: client.pubsub_numsub(f"{prefix}.svc")[0][1] == 1, "it listens")
        tripping.ask("calls", outcomes="f")
        tripping.kill()
        assert keys.field("state") == "open"
        assert 0 <= _await_half_open(keys) < _SOON_MS
        assert keys.field("changed_by").split(":")[1] == str(listening.pid)


@pytest.mark.usefixtures("both_modes")
def test_a_store_that_is_away_at_the_deadline_is_told_soon_after_it_is_back(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """Frozen over the end of the open period; still no call."""
    settings = {"store_timeout": 0.1, "store_retry_interval": 0.1, "heartbeat_interval": 0.2}
    breaker = make_breaker(own_server.url, prefix, settings=settings, **_RULES)
    fail_once(breaker)
    own_server.pause()
    try:
        eventually(lambda: breaker._link().failing is not None, "it was tried at the deadline")
        time.sleep(0.3)
    finally:
        own_server.resume()
    back = time.monotonic()
    _await_half_open(Keys(client, prefix))
    assert time.monotonic() - back < 1.0
    eventually(lambda: breaker._link().failing is None, "the trouble is over without a call")
    assert Keys(client, prefix).transitions() == _OPENED_AND_RECOVERED


def test_a_reset_leaves_nothing_to_do(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """Closed by hand before its end, a circuit is left alone at the former deadline."""
    breaker = make_breaker(own_server.url, prefix, settings=QUIET, **_RULES)
    await_trust(breaker, client)
    fail_once(breaker)
    breaker.reset()
    assert asked(client, lambda: time.sleep(0.6)) == 0
    assert Keys(client, prefix).field("state") == "closed"


def test_an_event_bus_may_have_a_circuit_without_a_breaker_recover(
    any_server: RunningServer, prefix: str
) -> None:
    """It heard that the circuit is open, or that its cooldown expired."""
    bench = Bench(any_server.client(), any_server.url, prefix, **_RULES)
    other = make_breaker(any_server.url, prefix, service="other")
    recovery = other._link().recovery
    bench.record("f")
    recovery.expect("svc", 0.3)
    recovery.hurry("svc")
    assert _await_half_open(bench.keys) < _SOON_MS
    leave = bench.admit()
    bench.settle(Outcome.FAILURE, leave)
    time.sleep(0.35)
    recovery.hurry("svc")
    eventually(lambda: bench.keys.field("generation") == "4", "the second one")


def test_those_who_listen_for_the_cooldown_hear_of_its_expiry_with_the_transition(
    any_server: RunningServer, prefix: str
) -> None:
    """The server itself is not looking for expired keys; the script looks."""
    if any_server.kind.name.startswith("redis-6"):
        config = {"notify-keyspace-events": "Kx"}
    else:
        config = {"notify-keyspace-events": "Kx", "enable-debug-command": "yes"}
    with start(any_server.kind, config=config) as own:
        client = own.client()
        client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        ear = Ear(client, f"__keyspace@0__:{Keys(client, prefix).cooldown}")
        breaker = make_breaker(own.url, prefix, **_RULES)
        fail_once(breaker)
        _await_half_open(Keys(client, prefix))
        assert ear.messages(0.2) == [b"expired"]


def test_one_thread_sees_to_it_and_ends_when_there_is_nothing_to_do(
    own_server: RunningServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins with the first open circuit, and again after it had ended."""
    monkeypatch.setattr("bb5_breaker._shell.recovery._IDLE_SECONDS", 0.05)
    rules = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=0.1, call_timeout=None)
    breaker = make_breaker(own_server.url, prefix)
    breaker.call(int)
    thread = breaker._link().recovery._thread
    assert not thread.is_running
    for name in ("one", "two"):
        tripping = CircuitBreaker(name, rules)
        tripping.call_result(fail)
        assert thread.is_running
        _await_half_open(Keys(own_server.client(), prefix, name))
        eventually(lambda: not thread.is_running, "nothing to do")
    assert listeners(own_server.client())
