"""Waiting until a circuit is closed: woken by pushes, in threads and in tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import redis

from bb5_breaker import CircuitBreaker
from tests.server.cached import QUIET, asked, await_trust
from tests.server.circuits import eventually
from tests.support.loops import Run
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer
from tests.support.workers_circuit import Bench, Keys, fail_once, make_breaker

_RULES: dict[str, Any] = {"failure_threshold": 1, "timeout_seconds": 600.0}


@pytest.fixture
def bench(own_server: RunningServer, client: redis.Redis, prefix: str) -> Bench:
    """Another process of the fleet, as far as the circuit is concerned."""
    return Bench(client, own_server.url, prefix, **_RULES)


@pytest.fixture
def breaker(
    own_server: RunningServer, prefix: str, both_modes: str, bench: Bench
) -> CircuitBreaker:
    """A breaker of an open circuit, in both modes, that made no call yet."""
    assert both_modes
    bench.record("f")
    # Who looked now and then would look often.
    settings = {**QUIET, "store_retry_interval": 0.05}
    return make_breaker(own_server.url, prefix, settings=settings, **_RULES)


def _begin(work: Callable[[], bool]) -> Future[bool]:
    """Run something on a thread that keeps no test from ending."""
    future: Future[bool] = Future()
    threading.Thread(target=lambda: future.set_result(work()), daemon=True).start()
    return future


def _ears(breaker: CircuitBreaker) -> int:
    return sum(map(len, breaker._link().board.news._ears.values()))


def _await_listening(client: redis.Redis, prefix: str) -> None:
    eventually(lambda: client.pubsub_numsub(f"{prefix}.svc")[0][1] == 1, "it listens")


def _await_silence(client: redis.Redis) -> None:
    """Wait until nobody asks any more."""
    eventually(lambda: asked(client, lambda: time.sleep(0.05)) == 0, "the waiting asks no more")


@pytest.mark.usefixtures("both_modes")
def test_a_closed_circuit_is_not_waited_for(server: RunningServer, prefix: str, run: Run) -> None:
    """True at once, with a time-out of 0, too; in strict mode as well."""
    breaker = make_breaker(server.url, prefix, **_RULES)
    assert breaker.wait_until_closed()
    assert breaker.wait_until_closed(0)
    assert run(breaker.wait_until_closed_async(0))


def test_what_is_known_costs_no_question(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """A view that may be believed answers."""
    breaker = make_breaker(own_server.url, prefix, settings=QUIET, **_RULES)
    await_trust(breaker, client)
    assert asked(client, lambda: breaker.wait_until_closed()) == 0


def test_threads_wake_when_another_process_closes_it(
    breaker: CircuitBreaker, bench: Bench, client: redis.Redis, prefix: str
) -> None:
    """Within the time of a push, and without a question meanwhile."""
    waits = [_begin(breaker.wait_until_closed) for _ in range(10)]
    _await_listening(client, prefix)
    _await_silence(client)
    busy = time.process_time()
    assert asked(client, lambda: time.sleep(0.3)) == 0
    assert time.process_time() - busy < 0.15, "it waits in a circle"
    assert not any(wait.done() for wait in waits)
    bench.reset()
    begun = time.monotonic()
    assert all(wait.result(10.0) for wait in waits)
    assert time.monotonic() - begun < 0.5
    assert _ears(breaker) == 0


def test_a_hundred_tasks_wait_without_a_thread(
    breaker: CircuitBreaker, bench: Bench, client: redis.Redis, prefix: str, run: Run
) -> None:
    """And wake, all of them; the loop goes on meanwhile."""

    async def wait_all() -> list[bool]:
        before = threading.active_count()
        tasks = [asyncio.create_task(breaker.wait_until_closed_async()) for _ in range(100)]
        await asyncio.to_thread(_await_listening, client, prefix)
        await asyncio.to_thread(_await_silence, client)
        # Those that ask aside are 16 at the most; the others are of the link and of this test.
        assert threading.active_count() <= before + 16 + 5
        assert await asyncio.to_thread(asked, client, lambda: time.sleep(0.2)) == 0
        await asyncio.to_thread(bench.reset)
        return await asyncio.wait_for(asyncio.gather(*tasks), 10.0)

    assert run(wait_all()) == [True] * 100
    assert _ears(breaker) == 0


def test_time_is_up(breaker: CircuitBreaker, run: Run) -> None:
    """False, neither sooner nor much later."""
    for wait in (
        lambda: breaker.wait_until_closed(0.2),
        lambda: run(breaker.wait_until_closed_async(0.2)),
    ):
        begun = time.monotonic()
        assert wait() is False
        assert 0.2 <= time.monotonic() - begun < 1.0
    assert breaker.wait_until_closed(0) is False
    assert _ears(breaker) == 0


def test_a_task_that_is_cancelled_leaves_nothing_behind(
    breaker: CircuitBreaker, client: redis.Redis, prefix: str, run: Run
) -> None:
    """At each moment of its waiting."""

    async def cancel_after(seconds: float) -> None:
        task = asyncio.create_task(breaker.wait_until_closed_async())
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for seconds in (0.0, 0.001, 0.005, 0.02, 0.2):
        run(cancel_after(seconds))
        assert _ears(breaker) == 0


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True, 1e12])
def test_a_timeout_is_a_number_of_seconds(timeout: Any, run: Run) -> None:
    """Anything else is refused by name."""
    breaker = CircuitBreaker("svc", redis="redis://127.0.0.1:1")
    with pytest.raises(ValueError, match="timeout"):
        breaker.wait_until_closed(timeout)
    with pytest.raises(ValueError, match="timeout"):
        run(breaker.wait_until_closed_async(timeout))


def test_what_was_missed_while_the_feed_was_away_is_looked_for(
    own_server: RunningServer, client: redis.Redis, prefix: str, bench: Bench
) -> None:
    """Closed while nothing could be heard: seen with the next connection at the latest."""
    bench.record("f")
    with Proxy(own_server.url) as proxy:
        settings = {"flush_interval": 60.0, "heartbeat_interval": 0.2, "store_retry_interval": 5.0}
        breaker = make_breaker(proxy.url, prefix, settings=settings, **_RULES)
        wait = _begin(breaker.wait_until_closed)
        _await_listening(client, prefix)
        _await_silence(client)
        proxy.feeds.hold()
        bench.reset()
        time.sleep(0.05)
        assert not wait.done()
        proxy.feeds.cut()
        proxy.feeds.release()
        assert wait.result(3.0)


def test_it_looks_as_soon_as_it_is_listened(
    own_server: RunningServer, prefix: str, bench: Bench
) -> None:
    """What happened between the first look and the subscription is not missed."""
    bench.record("f")
    with Proxy(own_server.url) as proxy:
        proxy.feeds.refuse()
        settings = {**QUIET, "store_retry_interval": 30.0}
        breaker = make_breaker(proxy.url, prefix, settings=settings, **_RULES)
        wait = _begin(breaker.wait_until_closed)
        eventually(lambda: breaker._link().board.remembered.get("svc"), "it looked")
        bench.reset()
        proxy.feeds.accept()
        assert wait.result(10.0)


def test_while_the_feed_is_away_it_looks_now_and_then(
    own_server: RunningServer, client: redis.Redis, prefix: str, bench: Bench
) -> None:
    """Every retry interval, and no more often."""
    bench.record("f")
    with Proxy(own_server.url) as proxy:
        proxy.feeds.refuse()
        settings = {**QUIET, "store_retry_interval": 0.2}
        breaker = make_breaker(proxy.url, prefix, settings=settings, **_RULES)
        wait = _begin(breaker.wait_until_closed)
        eventually(lambda: _ears(breaker) == 1, "it waits")
        assert 2 <= asked(client, lambda: time.sleep(1.0)) <= 6
        bench.reset()
        assert wait.result(3.0)


def test_a_store_that_goes_away_and_comes_back_does_not_end_the_wait(
    own_server: RunningServer, client: redis.Redis, prefix: str, bench: Bench
) -> None:
    """Open before, open after; closed then."""
    bench.record("f")
    settings = {"store_timeout": 0.1, "store_retry_interval": 0.1, "heartbeat_interval": 0.1}
    breaker = make_breaker(own_server.url, prefix, settings=settings, **_RULES)
    wait = _begin(breaker.wait_until_closed)
    _await_listening(client, prefix)
    own_server.pause()
    try:
        eventually(lambda: breaker._link().failing is not None, "the store is missed")
    finally:
        own_server.resume()
    eventually(lambda: breaker._link().failing is None, "the store is back")
    assert not wait.done()
    bench.reset()
    assert wait.result(5.0)


def test_a_store_that_never_answered_says_nothing(prefix: str) -> None:
    """What this process would do alone is not what was waited for."""
    breaker = make_breaker(
        "redis://127.0.0.1:1", prefix, settings={"store_retry_interval": 0.05}, **_RULES
    )
    assert breaker.is_closed, "alone it goes on"
    assert breaker.wait_until_closed(0.2) is False


def test_calls_of_this_process_that_close_it_end_the_wait(
    own_server: RunningServer, prefix: str, both_modes: str
) -> None:
    """Its own probe succeeds."""
    breaker = make_breaker(
        own_server.url, prefix, failure_threshold=1, timeout_seconds=0.1, success_threshold=1
    )
    fail_once(breaker)
    wait = _begin(breaker.wait_until_closed)
    eventually(lambda: breaker.call_result(int).success, "the probe")
    assert wait.result(5.0)
    assert both_modes
    assert Keys(own_server.client(), prefix).field("state") == "closed"
