"""Faults of the connection over which transitions are pushed: no call goes by a stale view."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.server.cached import NEVER, QUIET, asked, await_trust, listeners
from tests.server.circuits import eventually
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import (
    Bench,
    Keys,
    fail_once,
    make_breaker,
)

_HEARTBEAT = 0.1
_BEATING: dict[str, Any] = {"flush_interval": 60.0, "heartbeat_interval": _HEARTBEAT}


@pytest.fixture
def proxy(own_server: RunningServer) -> Iterator[Proxy]:
    """What stands between the process and that server."""
    with Proxy(own_server.url) as proxy:
        yield proxy


def _cut(proxy: Proxy) -> None:
    proxy.feeds.refuse()
    proxy.feeds.cut()


def _freeze(proxy: Proxy) -> None:
    proxy.feeds.hold()


def _lag(proxy: Proxy) -> None:
    proxy.feeds.delay(3 * _HEARTBEAT)


def _heal(proxy: Proxy) -> None:
    proxy.feeds.accept()
    proxy.feeds.delay(0.0)
    proxy.feeds.release()


@pytest.mark.parametrize("fault", [_cut, _freeze, _lag])
def test_calls_ask_within_two_heartbeats_when_the_feed_fails(
    proxy: Proxy, client: redis.Redis, own_server: RunningServer, prefix: str, fault: Any
) -> None:
    """Another process trips the circuit meanwhile: from then on no call is let through."""
    breaker = make_breaker(proxy.url, prefix, settings=_BEATING)
    await_trust(breaker, client)
    fault(proxy)
    failed = time.monotonic()
    Bench(client, own_server.url, prefix, failure_threshold=1).record("f")
    let_through, rejected = [], 0
    while (now := time.monotonic()) < failed + 8 * _HEARTBEAT:
        if breaker.call_result(int).was_rejected:
            rejected += 1
        else:
            let_through.append(now - failed)
        time.sleep(0.002)
    assert not [moment for moment in let_through if moment > 2 * _HEARTBEAT], let_through
    assert rejected > 5
    _heal(proxy)
    eventually(lambda: asked(client, lambda: breaker.call_result(int)) == 0, "it is heard again")
    assert breaker.call_result(int).was_rejected


@pytest.mark.parametrize("fault", [_cut, _freeze, _lag])
def test_every_call_asks_and_counts_while_the_feed_is_away(
    proxy: Proxy, client: redis.Redis, prefix: str, fault: Any
) -> None:
    """Without a living feed it is as in strict mode, and afterwards as before."""
    breaker = make_breaker(proxy.url, prefix, settings=_BEATING)
    await_trust(breaker, client)
    breaker.flush()
    fault(proxy)
    time.sleep(2 * _HEARTBEAT)
    counted = int(Keys(client, prefix).field("total_successes"))
    assert asked(client, lambda: [breaker.call(int) for _ in range(20)]) == 40
    assert int(Keys(client, prefix).field("total_successes")) == counted + 20
    _heal(proxy)
    await_trust(breaker, client)


def test_a_lag_below_the_heartbeat_is_borne(proxy: Proxy, client: redis.Redis, prefix: str) -> None:
    """A slow network alone does not make calls ask."""
    breaker = make_breaker(proxy.url, prefix, settings={**QUIET, "heartbeat_interval": 2.0})
    proxy.feeds.delay(0.05)
    await_trust(breaker, client)
    assert asked(client, lambda: [breaker.call(int) for _ in range(50)]) == 0


@pytest.mark.parametrize("hears", [True, False], ids=["push-in-the-socket", "feed-frozen"])
def test_the_first_call_of_a_process_that_stood_still_asks(
    proxy: Proxy, client: redis.Redis, own_server: RunningServer, prefix: str, hears: bool
) -> None:
    """Stopped for more than two heartbeats, its own clock tells it that it knows nothing."""
    with Crew(1, Assignment(proxy.url, prefix, settings=_BEATING)) as crew:
        (worker,) = crew.workers
        eventually(lambda: asked(client, lambda: worker.ask("calls", outcomes="s")) == 0, "trusted")
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            if not hears:
                proxy.feeds.hold()
            Bench(client, own_server.url, prefix, failure_threshold=1).record("f")
            time.sleep(2.5 * _HEARTBEAT)
            # It lies there when the process goes on: nothing of ours runs before it.
            worker.send("calls", outcomes="s")
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        assert worker.receive() == "r"


def test_an_answer_that_was_read_late_makes_nothing_good_again(
    proxy: Proxy, client: redis.Redis, own_server: RunningServer, prefix: str
) -> None:
    """The answer to a heartbeat vouches for the time of the asking, not for that of its reading."""
    settings = {"flush_interval": 60.0, "heartbeat_interval": 0.5}
    with Crew(1, Assignment(proxy.url, prefix, settings=settings)) as crew:
        (worker,) = crew.workers
        eventually(lambda: asked(client, lambda: worker.ask("calls", outcomes="s")) == 0, "trusted")
        proxy.feeds.hold()
        eventually(lambda: proxy.feeds.held_bytes > 0, "an answer is on its way")
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            proxy.feeds.release()
            eventually(lambda: proxy.feeds.held_bytes == 0, "it lies in the socket")
            proxy.feeds.hold()
            Bench(client, own_server.url, prefix, failure_threshold=1).record("f")
            time.sleep(1.1)
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        # Time for the feed to read it.
        time.sleep(0.05)
        assert worker.ask("calls", outcomes="s") == "r"


def test_a_process_resynchronises_after_a_reconnect_before_it_trusts_its_view(
    proxy: Proxy, client: redis.Redis, own_server: RunningServer, prefix: str
) -> None:
    """The circuit tripped while the connection was cut: the first call after it is rejected."""
    breaker = make_breaker(proxy.url, prefix, settings=_BEATING)
    await_trust(breaker, client)
    bench = Bench(client, own_server.url, prefix, failure_threshold=1)
    for _ in range(5):
        _cut(proxy)
        eventually(lambda: proxy.feeds.count == 0, "cut")
        bench.record("f", bench.admit())
        proxy.feeds.accept()
        eventually(lambda: len(listeners(client, 2)) == 1, "connected and subscribed again")
        # Time for the heartbeat that would make an old view good again.
        time.sleep(1.5 * _HEARTBEAT)
        assert breaker.call_result(int).was_rejected
        bench.reset()
        await_trust(breaker, client)


def _lose_the_next_message(proxy: Proxy, change: Any) -> None:
    before = proxy.feeds.dropped
    proxy.feeds.drop_message()
    change()
    eventually(lambda: proxy.feeds.dropped == before + 1, "the message is lost")


def test_a_lost_message_is_noticed_by_the_generation_of_the_next(
    proxy: Proxy, client: redis.Redis, own_server: RunningServer, prefix: str
) -> None:
    """The gap makes the process ask, and what it does then is of the present generation."""
    breaker = make_breaker(proxy.url, prefix, settings=QUIET)
    await_trust(breaker, client)
    bench = Bench(client, own_server.url, prefix, failure_threshold=1)
    _lose_the_next_message(proxy, lambda: bench.record("f"))
    assert breaker.call_result(int).success, "it can not know yet"
    bench.reset()
    eventually(lambda: asked(client, lambda: breaker.call(int)) > 0, "the gap is seen")
    fail_once(breaker)
    assert (bench.keys.field("generation"), bench.keys.field("failures")) == ("2", "1")
    await_trust(breaker, client)


def test_a_lost_message_is_noticed_by_the_answer_to_the_next_report(
    proxy: Proxy, client: redis.Redis, own_server: RunningServer, prefix: str
) -> None:
    """Without a next message the report of successes, or of rejections, brings the truth."""
    breaker = make_breaker(proxy.url, prefix, settings=QUIET)
    await_trust(breaker, client)
    bench = Bench(client, own_server.url, prefix, failure_threshold=1)
    _lose_the_next_message(proxy, lambda: bench.record("f"))
    assert breaker.call_result(int).success
    breaker.flush()
    assert breaker.call_result(int).was_rejected
    _lose_the_next_message(proxy, bench.reset)
    assert breaker.call_result(int).was_rejected
    breaker.flush()
    assert breaker.call_result(int).success


def test_a_lost_message_ends_with_the_next_background_report(
    proxy: Proxy, client: redis.Redis, own_server: RunningServer, prefix: str
) -> None:
    """A process that goes on calling lets calls through for one flush interval at the most."""
    settings = {"flush_interval": 0.05, "heartbeat_interval": 5.0}
    breaker = make_breaker(proxy.url, prefix, settings=settings)
    await_trust(breaker, client)
    bench = Bench(client, own_server.url, prefix, failure_threshold=1)
    _lose_the_next_message(proxy, lambda: bench.record("f"))
    eventually(lambda: breaker.call_result(int).was_rejected, "the truth", seconds=2.0)


def test_a_failing_call_on_a_view_that_missed_a_trip_is_late(
    proxy: Proxy, client: redis.Redis, own_server: RunningServer, prefix: str
) -> None:
    """It changes nothing, and its answer makes the next call be rejected."""
    breaker = make_breaker(proxy.url, prefix, settings=QUIET)
    await_trust(breaker, client)
    bench = Bench(client, own_server.url, prefix, failure_threshold=1)
    _lose_the_next_message(proxy, lambda: bench.record("f"))
    fail_once(breaker)
    assert bench.keys.field("total_failures") == "1"
    # That answer tells no end of the open period; the next one does, once and for all.
    assert breaker.call_result(int).was_rejected
    assert asked(client, lambda: [breaker.call_result(int) for _ in range(20)]) == 0


def test_a_push_that_comes_after_a_late_report_tells_the_end_of_the_open_period(
    proxy: Proxy, client: redis.Redis, own_server: RunningServer, prefix: str
) -> None:
    """The answer to the report was faster and told no end: rejections need not ask for it."""
    breaker = make_breaker(proxy.url, prefix, settings=QUIET)
    await_trust(breaker, client)
    proxy.feeds.hold()
    Bench(client, own_server.url, prefix, failure_threshold=1).record("f")
    fail_once(breaker)
    eventually(lambda: proxy.feeds.held_messages == 1, "the push is on its way")
    proxy.feeds.release()
    eventually(lambda: breaker._guard._view.decide(time.monotonic()) is not None, "it arrives")
    assert asked(client, lambda: [breaker.call_result(int) for _ in range(20)]) == 0


def test_an_outage_of_calls_alone_does_not_leave_the_circuit_unguarded(
    proxy: Proxy, client: redis.Redis, prefix: str
) -> None:
    """While failures go to the process's own stand-in, calls do not run by the store's word."""
    settings = {
        "flush_interval": 0.02,
        "heartbeat_interval": 5.0,
        "store_timeout": 0.2,
        "store_retry_interval": 60.0,
    }
    breaker = make_breaker(proxy.url, prefix, settings=settings, failure_threshold=3)
    await_trust(breaker, client)
    with breaker.protect():
        proxy.calls.hold()
        fail_once(breaker)
        proxy.calls.cut()
        proxy.calls.release()
    # The feed lives and reports get through again; the attempt of a call is a minute away.
    breaker.flush()
    results = [breaker.call_result(_raise) for _ in range(10)]
    assert sum(result.was_rejected for result in results) >= 7, results


@pytest.mark.parametrize("size", [1, 10_000])
def test_reports_that_fail_are_not_tried_again_with_each_call(
    proxy: Proxy, client: redis.Redis, prefix: str, size: int
) -> None:
    """With the feed alive and no way for reports, attempts keep to store_retry_interval."""
    settings = {
        "flush_interval": 0.01,
        "flush_size": size,
        "heartbeat_interval": 5.0,
        "store_retry_interval": 0.2,
    }
    breaker = make_breaker(proxy.url, prefix, settings=settings)
    await_trust(breaker, client)
    breaker.flush()
    expected = int(Keys(client, prefix).field("total_successes"))
    proxy.calls.refuse()
    proxy.calls.cut()
    before, began = proxy.connects, time.monotonic()
    while time.monotonic() < began + 1.0:
        breaker.call(int)
        expected += 1
        time.sleep(0.001)
    assert proxy.connects - before <= 12
    proxy.calls.accept()
    eventually(lambda: Keys(client, prefix).field("total_successes") == str(expected), "all count")


def test_the_feed_and_the_reports_survive_a_restart_of_redis(
    own_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Both threads go on by themselves, and nothing is logged for each call."""
    settings = {
        "flush_interval": 0.02,
        "heartbeat_interval": _HEARTBEAT,
        "store_retry_interval": 0.05,
    }
    before = set(threading.enumerate())
    breaker = make_breaker(own_server.url, prefix, settings=settings, failure_threshold=NEVER)
    client = own_server.client()
    eventually(lambda: breaker.call(int) or len(_new(before)) == 2, "both threads run")
    threads = _new(before)
    with caplog.at_level(logging.INFO, logger="bb5_breaker"):
        own_server.kill()
        for _ in range(200):
            breaker.call(int)
            fail_once(breaker)
        own_server.restart()
        eventually(
            lambda: breaker.call(int) or Keys(client, prefix).field("total_successes"), "counted"
        )
        eventually(lambda: len(listeners(client, 2)) == 1, "subscribed again")
        eventually(lambda: asked(client, lambda: breaker.call(int)) == 0, "trusted again")
    eventually(lambda: _new(before) == threads, "no thread is left over")
    assert len(caplog.messages) <= 3, caplog.messages


def _new(before: set[threading.Thread]) -> set[threading.Thread]:
    return {thread for thread in set(threading.enumerate()) - before if "bb5" in thread.name}


def _raise() -> None:
    raise ValueError
