"""Calls from event loops: every way in, time limits, cancellation, and a loop that never waits."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import logging
import random
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from bb5_breaker import (
    CallResult,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerManager,
    CircuitBreakerOpenError,
    CircuitState,
    configure,
    protect,
)
from bb5_breaker._shell.aside import ask_aside
from bb5_breaker._shell.deadlines import CallExpired
from bb5_breaker._store.server import MAX_CONNECTIONS
from tests.support.loops import Run, store_watched, until
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer, start
from tests.support.workers_circuit import (
    PATIENT,
    Keys,
    ServiceFailed,
    fail_once,
    make_breaker,
)

_ROOT = Path(__file__).parents[2]
Work = Callable[[], Coroutine[Any, Any, Any]]
Way = Callable[[CircuitBreaker, Work], Coroutine[Any, Any, Any]]


async def _by_call(breaker: CircuitBreaker, work: Work) -> Any:
    return await breaker.call(work)


async def _by_decorator(breaker: CircuitBreaker, work: Work) -> Any:
    return await breaker.decorate(work)()


async def _by_block(breaker: CircuitBreaker, work: Work) -> Any:
    async with breaker.protect():
        return await work()


async def _by_result(breaker: CircuitBreaker, work: Work) -> Any:
    result = await breaker.call_result(work)
    if result.exception is not None:
        raise result.exception
    return result.value


async def _by_plain_function(breaker: CircuitBreaker, work: Work) -> Any:
    return await breaker.call(lambda: work())


_WAYS = [_by_call, _by_decorator, _by_block, _by_result, _by_plain_function]
_RUNNING_WAYS = [way for way in _WAYS if way is not _by_block]
every_way = pytest.mark.parametrize("way", _WAYS, ids=lambda way: way.__name__)


async def _succeed() -> int:
    await asyncio.sleep(0)
    return 42


async def _fail() -> None:
    await asyncio.sleep(0)
    raise ServiceFailed("the service failed")


def _raiser(error: BaseException) -> Work:
    async def work() -> None:
        await asyncio.sleep(0)
        raise error

    return work


class _Stay:
    """A call that stays where it is until it is let go, and then returns or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.inside = asyncio.Event()
        self.leave = asyncio.Event()
        self._error = error

    async def __call__(self) -> str:
        self.inside.set()
        await self.leave.wait()
        if self._error is not None:
            raise self._error
        return "left"


_ONE_PLACE: dict[str, Any] = {
    "failure_threshold": 1,
    "timeout_seconds": 0.01,
    "reset_timeout": 0.0,
    "success_threshold": 2,
    "half_open_max_calls": 1,
}


def _half_open(url: str, prefix: str, opened_at: str | None = None, **rules: Any) -> CircuitBreaker:
    """Return a breaker whose next call is a probe.

    With another way to the server for the opening, nothing on this one knows of the circuit: no
    question of the background gets between.
    """
    rules = {**_ONE_PLACE, **rules}
    opener = make_breaker(opened_at or url, prefix, **rules)
    fail_once(opener)
    until = time.monotonic() + 5.0
    while not opener.is_half_open:
        assert time.monotonic() < until
        time.sleep(0.002)
    breaker = make_breaker(url, prefix, **rules)
    # Its way to the server is open, with a connection, and the server's version known.
    breaker._opener.link()
    assert CircuitBreaker(f"{prefix}-another").is_closed
    return breaker


class _Places:
    """The places of probes that a server holds taken."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client = client
        self.keys = Keys(client, prefix)

    def taken(self) -> int:
        return int(self.client.zcard(self.keys.probes))

    def are_free(self) -> bool:
        return self.taken() == 0


@pytest.fixture
def places(any_server: RunningServer, prefix: str) -> Iterator[_Places]:
    """The places of the test's circuit."""
    with any_server.client() as client:
        yield _Places(client, prefix)


@pytest.fixture
def keys(places: _Places) -> Keys:
    """All that the server holds of the test's circuit."""
    return places.keys


@pytest.fixture
def proxy(any_server: RunningServer) -> Iterator[Proxy]:
    """A proxy before the server that can keep its replies back."""
    with Proxy(any_server.url) as proxy:
        yield proxy


@every_way
@pytest.mark.parametrize("consistency", ["cached", "strict"])
def test_every_way_of_awaiting_opens_and_recovers_a_circuit(
    server: RunningServer, prefix: str, run: Run, way: Way, consistency: str
) -> None:
    """Coroutine functions take a circuit through all its states as plain functions do."""
    rules: dict[str, Any] = {"timeout_seconds": 0.05, "success_threshold": 2}
    settings = {"consistency": consistency}
    breaker = make_breaker(server.url, prefix, settings=settings, failure_threshold=2, **rules)

    async def main() -> None:
        assert await way(breaker, _succeed) == 42
        for _ in range(2):
            with pytest.raises(ServiceFailed):
                await way(breaker, _fail)
        await asyncio.sleep(0.06)
        assert await way(breaker, _succeed) == 42
        assert await breaker.get_state_async() is CircuitState.HALF_OPEN
        assert await way(breaker, _succeed) == 42
        assert await breaker.get_state_async() is CircuitState.CLOSED

    run(main())
    with server.client() as client:
        transitions = Keys(client, prefix).transitions()
    assert transitions == [("open", 1), ("half_open", 2), ("closed", 3)]
    figures = breaker.get_stats()
    assert (figures["total_calls"], figures["failed_calls"]) == (5, 2)


@every_way
@pytest.mark.parametrize("consistency", ["cached", "strict"])
def test_an_open_circuit_rejects_every_way_of_awaiting(
    any_server: RunningServer, prefix: str, run: Run, way: Way, consistency: str
) -> None:
    """The function is not begun, and the rejection is counted."""
    settings = {"consistency": consistency}
    breaker = make_breaker(any_server.url, prefix, settings=settings, failure_threshold=1)
    fail_once(breaker)

    async def main() -> None:
        stay = _Stay()
        with pytest.raises(CircuitBreakerOpenError) as caught:
            await way(breaker, stay)
        assert caught.value.state is CircuitState.OPEN
        assert not stay.inside.is_set()

    run(main())
    assert breaker.stats.rejection_count == 1


def test_the_decorator_of_the_module_guards_coroutine_functions(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """protect() on async def counts, opens and rejects."""
    configure(any_server.url, prefix=prefix, **PATIENT)

    @protect("svc", CircuitBreakerConfig(failure_threshold=1))
    async def fetch(number: int) -> int:
        if number < 0:
            raise ServiceFailed("negative")
        return number

    async def main() -> None:
        assert await fetch(3) == 3
        with pytest.raises(ServiceFailed):
            await fetch(-1)
        with pytest.raises(CircuitBreakerOpenError):
            await fetch(3)

    run(main())


@every_way
def test_a_failure_opens_the_circuit_before_the_caller_sees_it(
    any_server: RunningServer, prefix: str, keys: Keys, run: Run, way: Way
) -> None:
    """When the error arrives, the server holds the circuit open for everybody."""
    breaker = make_breaker(any_server.url, prefix, failure_threshold=1)

    async def main() -> None:
        with pytest.raises(ServiceFailed):
            await way(breaker, _fail)
        assert keys.field("state") == "open"

    run(main())


@every_way
@pytest.mark.parametrize("call_timeout", [None, 5.0])
def test_errors_reach_the_caller_as_they_were_raised(
    any_server: RunningServer, prefix: str, run: Run, way: Way, call_timeout: float | None
) -> None:
    """The same object, from the line that raised it, with nothing chained to it; probe or not."""
    breaker = make_breaker(any_server.url, prefix, **{**_ONE_PLACE, "call_timeout": call_timeout})

    async def main() -> None:
        for _ in range(2):
            error = ServiceFailed("mine")
            with pytest.raises(ServiceFailed) as caught:
                await way(breaker, _raiser(error))
            assert caught.value is error
            assert (error.__cause__, error.__context__) == (None, None)
            assert traceback.extract_tb(error.__traceback__)[-1].name == "work"
            await asyncio.sleep(0.02)

    run(main())
    assert breaker.stats.failed_calls == 2


def test_errors_and_rejections_leave_no_knots(any_server: RunningServer, prefix: str) -> None:
    """Errors are gone with their last reference: no frame that they know of holds on to them."""
    breaker = _half_open(any_server.url, prefix, call_timeout=0.2)
    kinds = (ServiceFailed, CircuitBreakerOpenError, TimeoutError)

    def living() -> set[int]:
        return {id(each) for each in gc.get_objects() if isinstance(each, kinds)}

    async def main() -> None:
        stay = _Stay()
        probe = asyncio.create_task(_by_block(breaker, stay))
        await stay.inside.wait()
        with suppress(CircuitBreakerOpenError):
            await breaker.call(_succeed)
        stay.leave.set()
        await probe
        with suppress(TimeoutError):
            await breaker.call(asyncio.sleep, 5)
        await asyncio.sleep(0.02)
        with suppress(ServiceFailed):
            await breaker.call(_fail)
        await asyncio.sleep(0.02)
        with suppress(TimeoutError):
            breaker.call(time.sleep, 0.3)
        await asyncio.sleep(0.02)
        assert living() - before == set()

    gc.collect()
    gc.disable()
    try:
        before = living()
        asyncio.run(main())
    finally:
        gc.enable()
    assert breaker.stats.failed_calls == 4


@pytest.mark.parametrize("way", _RUNNING_WAYS, ids=lambda way: way.__name__)
def test_a_call_that_takes_too_long_is_cancelled_and_counts_as_a_failure(
    any_server: RunningServer, prefix: str, run: Run, way: Way
) -> None:
    """After call_timeout, a plain TimeoutError that counts whatever exception_types says."""
    rules: dict[str, Any] = {"exception_types": (ServiceFailed,), "call_timeout": 0.05}
    breaker = make_breaker(any_server.url, prefix, failure_threshold=1, **rules)

    async def main() -> None:
        stay = _Stay()
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match=r"call_timeout of 0\.05 s") as caught:
            await way(breaker, stay)
        assert 0.04 < time.monotonic() - begun < 2
        assert type(caught.value) is TimeoutError
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert await breaker.get_state_async() is CircuitState.OPEN

    run(main())


def test_a_timeout_error_of_the_call_itself_is_told_apart(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """It is the caller's as it is, and judged by exception_types; so is one of an inner timeout."""
    rules: dict[str, Any] = {"exception_types": (ServiceFailed,), "call_timeout": 5.0}
    breaker = make_breaker(any_server.url, prefix, failure_threshold=1, **rules)
    error = TimeoutError("its own")

    async def hurry() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(5)

    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            await breaker.call(_raiser(error))
        assert caught.value is error
        with pytest.raises(TimeoutError):
            await breaker.call(hurry)
        assert await breaker.get_state_async() is CircuitState.CLOSED

    run(main())


@pytest.mark.parametrize("answer", ["late", ServiceFailed("in the cleanup"), TimeoutError("own")])
def test_a_call_that_ignores_its_cancellation_is_late_all_the_same(
    any_server: RunningServer, prefix: str, run: Run, answer: Any
) -> None:
    """Whatever it makes of the cancellation, the caller gets a TimeoutError, and it counts."""
    rules: dict[str, Any] = {"exception_types": (KeyError,), "call_timeout": 0.02}
    breaker = make_breaker(any_server.url, prefix, failure_threshold=1, **rules)

    async def stubborn() -> Any:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            if isinstance(answer, Exception):
                raise answer from None
        return answer

    async def main() -> None:
        with pytest.raises(TimeoutError, match="call_timeout") as caught:
            await breaker.call(stubborn)
        expected = answer if isinstance(answer, ServiceFailed) else None
        assert caught.value.__cause__ is expected
        await asyncio.sleep(0)
        assert await breaker.get_state_async() is CircuitState.OPEN

    run(main())


def test_a_breaker_around_another_judges_its_timeout_as_any_timeout_error(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """The inner circuit counts its own deadline; for the outer one it is an error of the call."""
    inner = make_breaker(any_server.url, prefix, "inner", failure_threshold=1, call_timeout=0.02)
    outer = make_breaker(
        any_server.url,
        prefix,
        "outer",
        failure_threshold=1,
        call_timeout=5.0,
        exception_types=(ServiceFailed,),
    )

    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            await outer.call(inner.decorate(asyncio.sleep), 5)
        assert type(caught.value) is TimeoutError
        assert not isinstance(caught.value, CallExpired)
        assert await inner.get_state_async() is CircuitState.OPEN
        assert await outer.get_state_async() is CircuitState.CLOSED

    run(main())


@every_way
@pytest.mark.parametrize("call_timeout", [None, 5.0])
def test_a_cancelled_probe_frees_its_place_at_once(
    any_server: RunningServer,
    prefix: str,
    places: _Places,
    run: Run,
    way: Way,
    call_timeout: float | None,
) -> None:
    """The place is free on the server long before its lease ends; nothing is counted."""
    breaker = _half_open(any_server.url, prefix, probe_lease=60.0, call_timeout=call_timeout)

    async def main() -> None:
        stay = _Stay()
        task = asyncio.create_task(way(breaker, stay))
        await stay.inside.wait()
        assert places.taken() == 1
        before = breaker.get_stats()["total_calls"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await until(places.are_free) < 1.0
        assert breaker.get_stats()["total_calls"] == before
        assert await way(breaker, _succeed) == 42

    run(main())
    assert places.keys.field("state") == "half_open"


# As a plain function it is asked for before there is anything to cancel.
@pytest.mark.parametrize("way", [way for way in _WAYS if way is not _by_plain_function])
def test_cancelled_while_it_asks_a_call_holds_no_place_afterwards(
    any_server: RunningServer,
    prefix: str,
    proxy: Proxy,
    places: _Places,
    run: Run,
    way: Way,
) -> None:
    """The server gave the place but the answer is not there: the task ends now, the place soon."""
    breaker = _half_open(proxy.url, prefix, any_server.url, probe_lease=60.0)

    async def main() -> None:
        stay = _Stay()
        proxy.calls.hold()
        task = asyncio.create_task(way(breaker, stay))
        await until(lambda: places.taken() == 1)
        task.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begun < 1.0
        assert not stay.inside.is_set()
        proxy.calls.release()
        await until(places.are_free)
        assert await way(breaker, _succeed) == 42

    run(main())


def test_cancelled_at_any_moment_a_call_holds_no_place_afterwards(
    any_server: RunningServer, prefix: str, places: _Places, run: Run
) -> None:
    """Three hundred probes, cancelled while they ask, run or report."""
    breaker = _half_open(
        any_server.url, prefix, probe_lease=60.0, success_threshold=1_000_000, call_timeout=5.0
    )
    chance = random.Random(7)
    ended: set[str] = set()

    async def main() -> None:
        for _ in range(300):
            task = asyncio.create_task(breaker.call(asyncio.sleep, chance.uniform(0, 0.001)))
            await asyncio.sleep(chance.uniform(0, 0.003))
            task.cancel()
            try:
                await task
                ended.add("returned")
            except (asyncio.CancelledError, CircuitBreakerOpenError) as error:
                ended.add(type(error).__name__)
        await until(places.are_free)
        assert await breaker.call(_succeed) == 42

    run(main())
    assert "CancelledError" in ended
    assert breaker.stats.active_probes == 0


def test_a_call_given_up_before_it_is_asked_for_takes_no_place(
    any_server: RunningServer, prefix: str, proxy: Proxy, places: _Places, run: Run
) -> None:
    """With all threads waiting for a slow store, cancelled calls behind them ask nothing."""
    breaker = _half_open(proxy.url, prefix, any_server.url, probe_lease=60.0)

    def scripts_run() -> int:
        found: Any = places.client.info("commandstats")
        return int(found["cmdstat_evalsha"]["calls"])

    async def main() -> None:
        proxy.calls.hold()
        before = scripts_run()
        tasks = [asyncio.create_task(breaker.call(_succeed)) for _ in range(200)]
        await until(lambda: places.taken() == 1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        proxy.calls.release()
        await _let_threads_finish()
        assert places.are_free()
        assert scripts_run() - before < 100
        assert await breaker.call(_succeed) == 42

    run(main())


def _about_to_open(proxy: Proxy, prefix: str) -> CircuitBreaker:
    """Return a breaker whose next failure opens; the server knows the script that reports it."""
    breaker = make_breaker(proxy.url, prefix, failure_threshold=2)
    fail_once(breaker)
    return breaker


def test_a_failure_counts_though_its_task_is_cancelled_while_it_is_reported(
    any_server: RunningServer, prefix: str, keys: Keys, proxy: Proxy, run: Run
) -> None:
    """The report goes on to its end; the task ends at once, cancelled."""
    breaker = _about_to_open(proxy, prefix)
    error = ServiceFailed("mine")

    async def main() -> None:
        stay = _Stay(error)
        task = asyncio.create_task(breaker.call(stay))
        await stay.inside.wait()
        proxy.calls.hold()
        stay.leave.set()
        await until(lambda: keys.field("state") == "open")
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.__context__ is error
        proxy.calls.release()
        with pytest.raises(CircuitBreakerOpenError):
            await breaker.call(_succeed)

    run(main())


def test_a_probe_counts_though_its_task_is_cancelled_while_it_is_reported(
    any_server: RunningServer, prefix: str, keys: Keys, proxy: Proxy, run: Run
) -> None:
    """A success that was reported closes the circuit, whether or not its caller still waits."""
    breaker = _half_open(proxy.url, prefix, any_server.url, success_threshold=2)

    async def main() -> None:
        # From here on the server knows the script.
        assert await breaker.call(_succeed) == 42
        stay = _Stay()
        task = asyncio.create_task(breaker.call(stay))
        await stay.inside.wait()
        proxy.calls.hold()
        stay.leave.set()
        await until(lambda: keys.field("state") == "closed")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.calls.release()
        assert await breaker.call(_succeed) == 42

    run(main())


def test_a_loop_that_ends_while_a_failure_is_reported_ends_in_silence(
    any_server: RunningServer,
    prefix: str,
    keys: Keys,
    proxy: Proxy,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The failure counts, and no answer that comes too late is complained of."""
    breaker = _about_to_open(proxy, prefix)
    tasks: list[asyncio.Task[Any]] = []

    async def main() -> None:
        stay = _Stay(ServiceFailed("the service failed"))
        tasks.append(asyncio.create_task(breaker.call(stay)))
        await stay.inside.wait()
        proxy.calls.hold()
        stay.leave.set()
        await until(lambda: keys.field("state") == "open")

    with caplog.at_level(logging.DEBUG):
        run(main())
        proxy.calls.release()
        asyncio.run(_let_threads_finish())
        gc.collect()
    assert [record.getMessage() for record in caplog.records if "selector" not in record.msg] == []
    assert breaker.is_open


async def _let_threads_finish() -> None:
    """Return when all that went on aside of loops is done."""
    together = threading.Barrier(MAX_CONNECTIONS)
    await asyncio.gather(*[ask_aside(together.wait) for _ in range(MAX_CONNECTIONS)])


@every_way
@pytest.mark.parametrize(
    "kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
)
def test_interrupts_and_exits_are_neutral(
    any_server: RunningServer,
    prefix: str,
    places: _Places,
    run: Run,
    way: Way,
    kind: type[BaseException],
) -> None:
    """They pass unchanged, free the place soon, and change nothing on the server."""
    breaker = _half_open(any_server.url, prefix, probe_lease=60.0)

    async def main() -> None:
        assert await way(breaker, _succeed) == 42
        before = places.keys.everything()
        error = kind("neutral")
        with pytest.raises(kind) as caught:
            await way(breaker, _raiser(error))
        assert caught.value is error
        await until(places.are_free)
        assert places.keys.everything() == before
        assert await way(breaker, _succeed) == 42

    run(main())
    assert breaker.is_closed


@every_way
def test_an_ignored_error_frees_its_place_before_the_caller_sees_it(
    any_server: RunningServer, prefix: str, places: _Places, run: Run, way: Way
) -> None:
    """Whoever catches it may call again at once: the one place is free."""
    breaker = _half_open(any_server.url, prefix, exception_types=(ServiceFailed,))

    async def main() -> None:
        for _ in range(10):
            with pytest.raises(KeyError):
                await way(breaker, _raiser(KeyError("ignored")))
            assert places.are_free()
        assert await way(breaker, _succeed) == 42

    run(main())
    assert places.keys.field("state") == "half_open"


@pytest.mark.parametrize("moment", ["asking", "running"])
def test_a_call_that_is_thrown_away_with_its_loop_frees_its_place(
    any_server: RunningServer, prefix: str, proxy: Proxy, places: _Places, moment: str
) -> None:
    """A loop that is closed with the call under way leaves a coroutine that Python closes."""
    breaker = _half_open(proxy.url, prefix, any_server.url, probe_lease=60.0)
    loop = asyncio.new_event_loop()
    stay = _Stay()
    if moment == "asking":
        proxy.calls.hold()
    task: Any = loop.create_task(breaker.call(stay))
    loop.run_until_complete(until(lambda: places.taken() == 1))
    if moment == "running":
        loop.run_until_complete(stay.inside.wait())
    loop.close()
    # What asyncio would complain of is the very thing that is tested here.
    task._log_destroy_pending = False
    del task, stay
    proxy.calls.release()

    def is_free_when_collected() -> bool:
        gc.collect()
        return places.are_free()

    asyncio.run(until(is_free_when_collected))


def test_a_call_that_is_closed_while_it_asks_ends_in_silence(
    prefix: str, proxy: Proxy, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is left to hear that the call was rejected, and asyncio does not complain of it."""
    breaker = make_breaker(
        proxy.url, prefix, settings={"consistency": "strict"}, failure_threshold=1
    )
    fail_once(breaker)

    async def main() -> None:
        proxy.calls.hold()
        call: Any = breaker.call(_succeed)
        call.send(None)
        await until(lambda: proxy.calls.held_bytes)
        call.close()
        proxy.calls.release()
        await _let_threads_finish()
        gc.collect()

    with caplog.at_level(logging.WARNING):
        run(main())
        gc.collect()
    assert caplog.messages == []
    assert breaker.stats.rejection_count == 1


def test_the_store_is_never_asked_on_the_loops_thread(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """Not for the first call, nor for probes, failures, time-outs, figures or orders."""
    configure(any_server.url, prefix=prefix, **PATIENT)
    rules = CircuitBreakerConfig(**{**_ONE_PLACE, "timeout_seconds": 0.5, "call_timeout": 0.3})
    breaker, manager = CircuitBreaker("svc", rules), CircuitBreakerManager()
    strict = CircuitBreaker("strict", rules, consistency="strict")

    async def main() -> None:
        for each in (breaker, strict):
            assert await each.call(_succeed) == 42
            assert (await each.call_result(_succeed)).value == 42
            with pytest.raises(ServiceFailed):
                await each.call(_fail)
            with pytest.raises(CircuitBreakerOpenError):
                await each.call(_succeed)
            await asyncio.sleep(0.52)
            stay = _Stay()
            probe = asyncio.create_task(_by_block(each, stay))
            await stay.inside.wait()
            with pytest.raises(CircuitBreakerOpenError):
                await each.decorate(_succeed)()
            probe.cancel()
            await asyncio.wait([probe])
            with pytest.raises((TimeoutError, CircuitBreakerOpenError)):
                await each.call(asyncio.sleep, 5)
            await each.flush_async()
            await each.get_stats_async()
            await each.get_state_async()
            await each.reset_async()
            assert await each.call(_succeed) == 42
        await manager.get_all_stats_async()
        await manager.get_open_circuits_async()

    async def watched() -> set[str]:
        with store_watched() as seen:
            await main()
        return seen

    assert run(watched()) == set()


def test_the_watch_of_the_test_before_can_see(any_server: RunningServer, prefix: str) -> None:
    """A plain call in a loop, which has to ask, is noticed."""
    breaker = make_breaker(any_server.url, prefix)

    async def main() -> None:
        with store_watched() as seen:
            breaker.call(int)
        assert "RedisStore.run" in seen

    asyncio.run(main())


def test_a_frozen_server_does_not_hold_up_the_loop(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """While calls wait half a second for a frozen server, the loop ticks on."""
    with start(any_server.kind) as server:
        breaker = make_breaker(server.url, prefix, settings={"store_timeout": 0.5})

        async def main() -> float:
            await breaker.call(_succeed)
            server.pause()
            done = asyncio.Event()
            ticker = asyncio.create_task(_largest_gap(done))
            tasks = [asyncio.create_task(breaker.call_result(_fail)) for _ in range(40)]
            begun = time.monotonic()
            results: Any = await asyncio.gather(*tasks)
            assert time.monotonic() - begun > 0.4, "nobody waited: nothing was proven"
            assert any(isinstance(result.exception, ServiceFailed) for result in results)
            done.set()
            return await ticker

        try:
            assert run(main()) < 0.25
        finally:
            server.resume()


async def _largest_gap(done: asyncio.Event) -> float:
    largest, before = 0.0, time.monotonic()
    while not done.is_set():
        await asyncio.sleep(0.005)
        now = time.monotonic()
        largest, before = max(largest, now - before), now
    return largest


def test_one_breaker_serves_several_loops_and_threads_at_once(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """Two loops in two threads and a plain thread: every call counts once."""
    breaker = make_breaker(any_server.url, prefix, failure_threshold=1_000_000)
    together = threading.Barrier(3)
    errors: list[BaseException] = []

    async def main() -> None:
        async def some() -> None:
            for number in range(50):
                work = _fail if number % 10 == 0 else _succeed
                await breaker.call_result(work)

        await asyncio.gather(*[some() for _ in range(10)])

    def in_loop() -> None:
        together.wait()
        run(main())

    def in_thread() -> None:
        together.wait()
        for _ in range(500):
            breaker.call(int)

    def noted(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=noted, args=(work,)) for work in (in_loop, in_loop, in_thread)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    figures = breaker.stats
    assert (figures.total_calls, figures.failed_calls) == (1500, 100)


def test_one_breaker_serves_loops_one_after_the_other(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """Nothing of a breaker belongs to the loop of its first call."""
    breaker = _half_open(any_server.url, prefix, success_threshold=5)
    for _ in range(5):
        assert run(_by_call(breaker, _succeed)) == 42
    assert breaker.is_closed
    for _ in range(3):
        assert run(_by_block(breaker, _succeed)) == 42
    assert run(breaker.get_stats_async())["successful_calls"] == 8


def test_no_more_probes_run_at_once_than_there_are_places(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """Of a thousand tasks at the end of an open period three are let in, as long as they stay."""
    breaker = _half_open(any_server.url, prefix, half_open_max_calls=3, success_threshold=1_000_000)

    async def main() -> None:
        stay = _Stay()
        tasks = [asyncio.create_task(breaker.call_result(stay)) for _ in range(1000)]
        await until(lambda: sum(task.done() for task in tasks) >= 997, 30.0)
        assert [task.result().was_rejected for task in tasks if task.done()] == [True] * 997
        stay.leave.set()
        results = await asyncio.gather(*tasks)
        assert sum(result.success for result in results) == 3

    run(main())
    assert breaker.stats.active_probes == 0


def test_places_that_come_free_are_never_given_twice(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """A thousand tasks of short calls: whenever one is let in, at most three are inside."""
    breaker = _half_open(any_server.url, prefix, half_open_max_calls=3, success_threshold=1_000_000)
    inside: set[int] = set()
    seen: list[int] = []

    async def work(number: int) -> None:
        inside.add(number)
        seen.append(len(inside))
        await asyncio.sleep(0.002)
        inside.discard(number)

    async def main() -> Any:
        return await asyncio.gather(*[breaker.call_result(work, each) for each in range(1000)])

    results = run(main())
    assert sum(result.success for result in results) == len(seen)
    assert sum(result.was_rejected for result in results) == 1000 - len(seen)
    assert max(seen) <= 3
    assert breaker.stats.active_probes == 0


_seen: contextvars.ContextVar[str] = contextvars.ContextVar("_seen", default="nothing")


@every_way
@pytest.mark.parametrize("call_timeout", [None, 5.0])
def test_a_call_runs_in_the_callers_task_and_context(
    any_server: RunningServer, prefix: str, run: Run, way: Way, call_timeout: float | None
) -> None:
    """It sees the caller's context variables and task, and what it sets stays set."""
    breaker = make_breaker(any_server.url, prefix)

    async def look() -> tuple[str, Any]:
        seen = _seen.get()
        _seen.set("changed by the call")
        return seen, asyncio.current_task()

    async def main() -> None:
        _seen.set("the caller's")
        assert await way(breaker, look) == ("the caller's", asyncio.current_task())
        assert _seen.get() == "changed by the call"

    run(main())


def test_an_event_bus_hears_in_the_context_of_the_call(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """What a bus publishes aside of the loop can be traced back to the call by its context."""
    heard: list[str] = []

    class Bus:
        def publish(self, topic: str, event: Any) -> None:
            heard.append(_seen.get())

    breaker = make_breaker(any_server.url, prefix, failure_threshold=1)
    breaker.event_bus = Bus()

    async def main() -> None:
        _seen.set("the caller's")
        with pytest.raises(ServiceFailed):
            await breaker.call(_fail)

    run(main())
    assert heard == ["the caller's"]


def test_a_task_group_ends_as_without_a_breaker(
    any_server: RunningServer, prefix: str, places: _Places, run: Run
) -> None:
    """One guarded task fails; its cancelled sisters say nothing and free their places."""
    breaker = _half_open(
        any_server.url,
        prefix,
        half_open_max_calls=3,
        probe_lease=60.0,
        exception_types=(ServiceFailed,),
    )

    async def group_of_three() -> None:
        async with asyncio.TaskGroup() as group:
            for stay in (_Stay(), _Stay()):
                group.create_task(_by_call(breaker, stay))
                await stay.inside.wait()
            group.create_task(_by_call(breaker, _raiser(KeyError("ignored"))))

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await group_of_three()
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        await until(places.are_free)

    run(main())
    assert places.keys.field("state") == "half_open"


def test_a_block_guards_one_block_at_a_time(
    any_server: RunningServer, prefix: str, places: _Places, run: Run
) -> None:
    """Of two tasks that enter one object, one gets a RuntimeError, and no place is lost."""
    breaker = _half_open(any_server.url, prefix, half_open_max_calls=2, probe_lease=60.0)
    block = breaker.protect()

    async def enter(stay: _Stay) -> None:
        async with block:
            await stay()

    async def main() -> None:
        stay = _Stay()
        tasks = [asyncio.create_task(enter(stay)) for _ in range(2)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(done.pop().exception(), RuntimeError)
        await stay.inside.wait()
        with pytest.raises(RuntimeError, match="already entered"):
            await enter(stay)
        await until(lambda: places.taken() == 1)
        stay.leave.set()
        await asyncio.wait(tasks)
        assert places.are_free()
        assert await _by_block(breaker, _succeed) == 42

    run(main())
    assert breaker.is_closed


def test_results_tell_what_became_of_an_awaited_call(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """Value, error or rejection, the state and the time; interrupts are raised."""
    breaker = make_breaker(
        any_server.url, prefix, **{**_ONE_PLACE, "timeout_seconds": 0.5, "call_timeout": 0.3}
    )

    async def main() -> None:
        value: CallResult = await breaker.call_result(_succeed)
        assert (value.success, value.value, value.state_at_call) == (True, 42, CircuitState.CLOSED)
        failed: Any = await breaker.call_result(_fail)
        assert failed.failed
        assert isinstance(failed.exception, ServiceFailed)
        rejected = await breaker.call_result(_succeed)
        assert rejected.was_rejected
        assert rejected.duration_seconds == 0.0
        assert rejected.state_at_call is CircuitState.OPEN
        await asyncio.sleep(0.52)
        late = await breaker.call_result(asyncio.sleep, 5)
        assert type(late.exception) is TimeoutError
        assert late.state_at_call is CircuitState.HALF_OPEN
        assert 0.2 < late.duration_seconds < 5
        await asyncio.sleep(0.52)
        with pytest.raises(asyncio.CancelledError):
            await breaker.call_result(_raiser(asyncio.CancelledError()))

    run(main())


def test_what_has_no_single_result_is_refused_and_frees_its_place(
    any_server: RunningServer, prefix: str, places: _Places
) -> None:
    """call_result() refuses generators, and what a plain function leaves unfinished."""
    breaker = _half_open(any_server.url, prefix, probe_lease=60.0)

    def count() -> Iterator[int]:
        yield 1

    async def stream() -> Any:
        yield 1

    for func in (count, stream, lambda: count(), lambda: stream(), lambda: _succeed()):
        with pytest.raises(TypeError, match="not the one result"):
            breaker.call_result(func)
        assert places.are_free()
    assert breaker.call(int) == 0
    assert places.keys.field("state") == "half_open"


def test_the_figures_can_be_read_without_blocking(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """The asynchronous reads give what the plain ones give, and raise what they raise."""
    breaker = make_breaker(any_server.url, prefix, failure_threshold=1)
    manager = CircuitBreakerManager()

    async def main() -> None:
        await breaker.call(_succeed)
        await breaker.flush_async()
        assert (await breaker.get_stats_async())["total_calls"] == 1
        await breaker.call_result(_fail)
        assert await breaker.get_state_async() is CircuitState.OPEN
        assert await manager.get_open_circuits_async() == ["svc"]
        assert (await manager.get_all_stats_async())["svc"]["failed_calls"] == 1
        await breaker.reset_async()
        assert await manager.get_open_circuits_async() == []
        assert await breaker.get_state_async() is CircuitState.CLOSED

    run(main())


class _Remote:
    """Something with asynchronous methods of every kind."""

    breaker: CircuitBreaker

    def __init__(self, name: str) -> None:
        self.name = name

    async def method(self) -> str:
        """A method."""
        return self.name

    @classmethod
    async def of_class(cls) -> str:
        """A method of the class."""
        return cls.__name__

    @staticmethod
    async def static() -> str:
        """A static method."""
        return "static"

    async def __call__(self) -> str:
        """A call of the object."""
        return f"called {self.name}"


def test_all_kinds_of_asynchronous_callables_are_awaited(
    any_server: RunningServer, prefix: str, run: Run
) -> None:
    """Methods, partials and objects with an asynchronous __call__, through every way in."""
    breaker = make_breaker(any_server.url, prefix)
    remote = _Remote("r")
    expected: list[tuple[Any, str]] = [
        (remote.method, "r"),
        (_Remote.of_class, "_Remote"),
        (_Remote.static, "static"),
        (remote, "called r"),
        (functools.partial(_Remote.method, remote), "r"),
        (functools.partial(remote), "called r"),
        (functools.partial(functools.partial(remote.method)), "r"),
    ]

    async def main() -> None:
        for func, result in expected:
            for way in _WAYS:
                assert await way(breaker, func) == result

    run(main())
    assert breaker.stats.successful_calls == len(expected) * len(_WAYS)


def test_decorated_functions_look_like_their_own(any_server: RunningServer, prefix: str) -> None:
    """Name, signature, kind and the breaker can be asked for; methods bind as always."""
    breaker = make_breaker(any_server.url, prefix)

    @breaker.decorate
    async def fetch(number: int, *, name: str = "") -> str:
        """Fetch it."""
        return name * number

    class Client:
        @breaker.decorate
        async def method(self) -> Client:
            return self

        @classmethod
        @breaker.decorate
        async def of_class(cls) -> type[Client]:
            return cls

        @staticmethod
        @breaker.decorate
        async def static() -> str:
            return "static"

    assert inspect.iscoroutinefunction(fetch)
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetch it.")
    assert str(inspect.signature(fetch)) == "(number: 'int', *, name: 'str' = '') -> 'str'"
    assert fetch.circuit_breaker is breaker  # type: ignore[attr-defined]
    assert inspect.iscoroutinefunction(Client().method)

    async def main() -> None:
        client = Client()
        assert await fetch(2, name="x") == "xx"
        assert await client.method() is client
        assert await client.of_class() is Client
        assert await client.static() == "static"

    asyncio.run(main())
    assert breaker.stats.successful_calls == 4


def test_a_call_that_is_never_awaited_never_happens(
    any_server: RunningServer, prefix: str, keys: Keys
) -> None:
    """Python warns of it as of any coroutine; the circuit is not asked."""
    breaker = make_breaker(any_server.url, prefix)
    call: Any = breaker.decorate(_succeed)()
    with pytest.warns(RuntimeWarning, match="_succeed' was never awaited"):
        del call
    assert keys.own() == []


def test_calls_work_and_count_while_the_process_ends(
    any_server: RunningServer, prefix: str, keys: Keys
) -> None:
    """An exit function may still run a loop of its own, when no thread can be started any more."""
    script = f"""
        import asyncio, atexit
        from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure
        configure({any_server.url!r}, prefix={prefix!r}, store_timeout=5.0)
        breaker = CircuitBreaker("svc", CircuitBreakerConfig(failure_threshold=1))

        async def fail():
            raise ValueError("the last call")

        def last():
            try:
                asyncio.run(breaker.call(fail))
            except ValueError as error:
                print(error)

        atexit.register(last)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("the last call\n", "")
    assert keys.field("state") == "open"
