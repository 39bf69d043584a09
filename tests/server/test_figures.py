"""What a circuit costs: memory, round trips, server time; and that nothing stays for ever."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from bb5_breaker import CircuitBreaker, CircuitBreakerManager, configure
from bb5_breaker._core.commands import Outcome, Record, Run
from bb5_breaker._core.policy import Circuit
from bb5_breaker._store.scripts import SCRIPTS
from bb5_breaker.config import CircuitBreakerConfig
from tests.server.circuits import eventually
from tests.support.servers import RunningServer, start
from tests.support.workers_circuit import (
    PATIENT,
    Bench,
    Keys,
    fail_once,
    make_breaker,
)

_NEVER = 1_000_000


@pytest.fixture
def quiet_server(server: RunningServer) -> Iterator[RunningServer]:
    """A server of the same kind that nobody else talks to, so that its figures are ours."""
    with start(server.kind) as own:
        yield own


@pytest.fixture
def any_quiet_server(any_server: RunningServer) -> Iterator[RunningServer]:
    """The same of one kind only."""
    with start(any_server.kind) as own:
        yield own


def _memory(client: redis.Redis, prefix: str) -> int:
    keys = [*Keys(client, prefix).own(), Keys(client, prefix).registry]
    return sum(client.memory_usage(key, samples=0) or 0 for key in keys)


def test_a_healthy_circuit_takes_less_than_two_kilobytes(
    server: RunningServer, prefix: str
) -> None:
    """Hash, window, history, sender and its place in the registry, after 300 successes."""
    breaker = make_breaker(server.url, prefix, sliding_window_size=100)
    for _ in range(300):
        breaker.call(int)
    assert 0 < _memory(server.client(), prefix) < 2048


def test_a_circuit_of_alternating_outcomes_takes_less_than_twelve_kilobytes(
    server: RunningServer, prefix: str
) -> None:
    """The window can not be shorter than a run a call; it is trimmed all the same."""
    breaker = make_breaker(server.url, prefix, sliding_window_size=100, failure_threshold=_NEVER)
    for _ in range(150):
        fail_once(breaker)
        breaker.call(int)
    client = server.client()
    assert client.zcard(Keys(client, prefix).window) <= 101
    assert _memory(client, prefix) < 12 * 1024


def test_the_history_is_bounded(server: RunningServer, prefix: str) -> None:
    """The stream keeps about history_limit transitions, however many there were."""
    breaker = make_breaker(
        server.url,
        prefix,
        settings={"history_limit": 20},
        failure_threshold=1,
        timeout_seconds=0.0,
        reset_timeout=0.0,
        success_threshold=1,
    )
    for _ in range(150):
        fail_once(breaker)
        breaker.call(int)
    client = server.client()
    keys = Keys(client, prefix)
    assert int(keys.field("transitions")) == 450
    assert client.xlen(keys.events) <= 20 + 100
    assert keys.transitions()[-1] == ("closed", 450)


def _reads(client: redis.Redis, work: Callable[[], Any]) -> int:
    """Return how often the server read from its sockets: at least once a round trip."""
    before = client.info("stats")["total_reads_processed"]
    work()
    return int(client.info("stats")["total_reads_processed"] - before)


def test_ten_thousand_circuits_are_listed_soon_and_in_few_round_trips(
    any_quiet_server: RunningServer, prefix: str
) -> None:
    """get_all_stats pipelines: 10,000 circuits in dozens of round trips, not thousands."""
    configure(any_quiet_server.url, prefix=prefix, **PATIENT)
    breaker = CircuitBreaker("any")
    rules = CircuitBreakerConfig()
    commands = [
        Record(Circuit.of(f"svc-{n}", rules), 0, "", (Run(Outcome.SUCCESS, 1),), "")
        for n in range(10_000)
    ]
    breaker._link().store.run_many(commands)
    client = any_quiet_server.client()
    assert client.zcard(Keys(client, prefix).registry) == 10_000
    manager = CircuitBreakerManager()
    took: list[float] = []

    def read_all() -> None:
        begun = time.perf_counter()
        assert len(manager.get_all_stats()) == 10_000
        took.append(time.perf_counter() - begun)

    # The server reads 16 KiB at a time, so a large pipeline takes several reads.
    assert _reads(client, read_all) < 10_000 / 10
    client.script_flush()
    assert _reads(client, read_all) < 10_000 / 5, "after a SCRIPT FLUSH"
    # Twice the two seconds that it may take on a machine that does nothing else.
    assert min(took) < 4.0, took


def test_closing_a_thousand_circuits_takes_few_round_trips_too(
    any_quiet_server: RunningServer, prefix: str
) -> None:
    """close_all_circuits writes the registry along with its batches, not circuit by circuit."""
    configure(any_quiet_server.url, prefix=prefix, **PATIENT)
    rules = CircuitBreakerConfig(failure_threshold=1)
    trips = [
        Record(Circuit.of(f"svc-{n}", rules), 0, "", (Run(Outcome.FAILURE, 1),), "E")
        for n in range(1000)
    ]
    CircuitBreaker("any")._link().store.run_many(trips)
    manager = CircuitBreakerManager()
    assert len(manager.get_open_circuits()) == 1000
    assert _reads(any_quiet_server.client(), manager.close_all_circuits) < 500
    assert manager.get_open_circuits() == []


_KINDS = ("success", "failure", "alternating")
# TIME, HMGET, SET and HSET are all that a success of a healthy circuit costs.
_MOST_COMMANDS = {"success": 4, "failure": 9, "alternating": 11}


@pytest.mark.parametrize("kind", _KINDS)
def test_a_report_costs_few_commands_whatever_the_window(
    quiet_server: RunningServer, prefix: str, kind: str
) -> None:
    """A script's commands are bounded, and few while all is well."""
    client = quiet_server.client()
    bench = Bench(client, quiet_server.url, prefix, failure_threshold=_NEVER)
    bench.record("s" * 150 if kind == "success" else "sf" * 100)
    for number in range(20):
        client.config_resetstat()
        bench.record({"success": "s", "failure": "f"}.get(kind) or "fs"[number % 2])
        stats = client.info("commandstats")
        inner = sum(
            figures["calls"]
            for name, figures in stats.items()
            if name not in {"cmdstat_evalsha", "cmdstat_info", "cmdstat_config|resetstat"}
            and not name.startswith("cmdstat_config")
        )
        assert inner <= _MOST_COMMANDS[kind], stats


def _scripts_run(client: redis.Redis, work: Callable[[], Any]) -> int:
    client.config_resetstat()
    work()
    stats = client.info("commandstats")
    assert not {"cmdstat_eval", "cmdstat_script|load"} & set(stats)
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_a_strict_call_costs_two_round_trips_and_a_rejection_one(
    any_quiet_server: RunningServer, prefix: str
) -> None:
    """One script before the call and one after it, probes too; nothing else is asked."""
    client = any_quiet_server.client()
    breaker = make_breaker(
        any_quiet_server.url,
        prefix,
        settings={"consistency": "strict"},
        failure_threshold=2,
        timeout_seconds=0.2,
        success_threshold=1,
    )
    asked = functools.partial(_scripts_run, client)

    breaker.call(int)
    fail_once(breaker)
    assert asked(lambda: breaker.call(int)) == 2
    assert asked(lambda: fail_once(breaker)) == 2
    fail_once(breaker)
    assert asked(lambda: breaker.call_result(int)) == 1
    assert breaker.is_open
    time.sleep(0.25)
    breaker.call(int)
    assert breaker.is_closed
    for _ in range(2):
        fail_once(breaker)
    time.sleep(0.25)
    assert asked(lambda: breaker.call(int)) == 2


def test_a_cached_call_costs_nothing_a_failure_one_round_trip_and_a_probe_two(
    any_quiet_server: RunningServer, prefix: str
) -> None:
    """Closed and fresh, or open: no round trip. A failure takes the successes before it along."""
    client = any_quiet_server.client()
    breaker = make_breaker(
        any_quiet_server.url,
        prefix,
        settings={"flush_interval": 30.0},
        failure_threshold=2,
        timeout_seconds=0.3,
        success_threshold=1,
    )
    asked = functools.partial(_scripts_run, client)
    client.script_load(SCRIPTS["admit"].source)
    client.script_load(SCRIPTS["settle"].source)

    fail_once(breaker)
    eventually(lambda: asked(lambda: breaker.call(int)) == 0, "the view is trusted")
    assert asked(lambda: [breaker.call(int) for _ in range(1000)]) == 0
    assert asked(lambda: fail_once(breaker)) == 1
    assert Keys(client, prefix).field("total_successes") >= "1001"
    assert asked(lambda: fail_once(breaker)) == 1
    assert asked(lambda: [breaker.call_result(int) for _ in range(1000)]) == 0
    time.sleep(0.35)
    assert asked(lambda: breaker.call(int)) == 2
    assert asked(lambda: breaker.call(int)) == 0
    assert breaker.is_closed


def test_nothing_is_ever_left_without_an_expiry(server: RunningServer, prefix: str) -> None:
    """After each step of a circuit's life every one of its keys has a TTL."""
    breaker = make_breaker(
        server.url,
        prefix,
        failure_threshold=2,
        timeout_seconds=0.05,
        reset_timeout=0.0,
        success_threshold=2,
    )
    client = server.client()
    keys = Keys(client, prefix)

    def cycle() -> Iterator[str]:
        breaker.call(int)
        yield "success"
        fail_once(breaker)
        yield "failure"
        fail_once(breaker)
        yield "tripped"
        breaker.call_result(int)
        yield "rejected"
        time.sleep(0.06)
        with breaker.protect():
            yield "probing"
            breaker.call_result(int)
            yield "rejected in half-open"
        yield "probed"
        breaker.call_result(fail_once, breaker)
        yield "reopened"
        time.sleep(0.06)
        assert breaker.is_half_open
        yield "promoted"
        breaker.call(int)
        breaker.call(int)
        yield "closed"
        breaker.stats.reset()
        yield "cleared"
        breaker.reset()
        yield "reset"

    for step in [*cycle(), *cycle()]:
        assert keys.own(), step
        assert keys.without_expiry() == [], step
    breaker.forget()
    # Of one forgotten it is kept for a while that it was, and who reported.
    left = [name for name in keys.own() if ":sender:" not in name]
    assert left == [f"{keys.circuit}:forgotten"]
    assert keys.without_expiry() == []


def test_an_open_circuit_outlives_its_open_period_and_rejections_do_not_prolong_it(
    server: RunningServer, prefix: str
) -> None:
    """The hash stays for the open period and the idle time; a rejected call adds nothing."""
    breaker = make_breaker(
        server.url,
        prefix,
        settings={"idle_ttl": 10.0},
        failure_threshold=1,
        timeout_seconds=1000.0,
    )
    fail_once(breaker)
    client = server.client()
    keys = Keys(client, prefix)
    lives = {key: client.pttl(key) for key in (keys.circuit, keys.window, keys.events)}
    assert all(1_010_000 < life <= 1_015_000 for life in lives.values()), lives
    time.sleep(0.05)
    for _ in range(20):
        assert breaker.call_result(int).was_rejected
    for key, life in lives.items():
        assert client.pttl(key) <= life - 50


def test_an_idle_circuit_expires_and_leaves_the_registry(
    server: RunningServer, prefix: str
) -> None:
    """Names that are never used again do not pile up in the registry for ever."""
    breakers = [
        make_breaker(server.url, prefix, f"agent.{n}", settings={"idle_ttl": 1.0}) for n in range(5)
    ]
    for breaker in breakers:
        breaker.call(int)
    client = server.client()
    keys = Keys(client, prefix, "alive")
    alive = make_breaker(server.url, prefix, "alive", settings={"idle_ttl": 1.0})
    ends = time.monotonic() + 4.0
    while client.exists(Keys(client, prefix, "agent.0").circuit):
        alive.call(int)
        assert time.monotonic() < ends
        time.sleep(0.05)
    time.sleep(0.6)
    alive.call(int)
    assert list(CircuitBreakerManager().get_all_stats()) == ["alive"]
    while client.zrange(keys.registry, 0, -1) != [b"alive"]:
        alive.call(int)
        assert time.monotonic() < ends, client.zrange(keys.registry, 0, -1)
        time.sleep(0.05)


def test_configuring_again_and_again_leaves_no_connections_behind(
    any_quiet_server: RunningServer, prefix: str
) -> None:
    """The connections of settings that nobody uses any more are closed."""
    breaker = CircuitBreaker("svc")
    for number in range(50):
        configure(any_quiet_server.url, prefix=f"{prefix}-{number}", **PATIENT)
        breaker.call(int)
    client = any_quiet_server.client()
    ends = time.monotonic() + 5
    while (opened := len(client.client_list())) > 12:
        assert time.monotonic() < ends, f"{opened} connections are open"
        time.sleep(0.05)
