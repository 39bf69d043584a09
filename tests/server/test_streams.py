"""Guarded generators, plain and asynchronous: one call from the first item to the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
import redis

from bb5_breaker import CircuitBreaker, CircuitBreakerOpenError, CircuitState
from tests.support.loops import Run, store_watched, until
from tests.support.servers import RunningServer
from tests.support.workers_circuit import (
    Keys,
    ServiceFailed,
    fail_once,
    make_breaker,
)

Start = Callable[..., Any]
Way = Callable[[CircuitBreaker, Start], Any]


def _by_call(breaker: CircuitBreaker, start: Start) -> Any:
    return breaker.call(start)


def _by_decorator(breaker: CircuitBreaker, start: Start) -> Any:
    return breaker.decorate(start)()


def _by_plain_function(breaker: CircuitBreaker, start: Start) -> Any:
    return breaker.call(lambda: start())


_LAZY_WAYS = [_by_call, _by_decorator]
every_way = pytest.mark.parametrize(
    "way", [*_LAZY_WAYS, _by_plain_function], ids=lambda way: way.__name__
)
every_lazy_way = pytest.mark.parametrize("way", _LAZY_WAYS, ids=lambda way: way.__name__)

_ONE_PLACE: dict[str, Any] = {
    "failure_threshold": 1,
    "timeout_seconds": 0.01,
    "reset_timeout": 0.0,
    "success_threshold": 2,
    "half_open_max_calls": 1,
    "probe_lease": 60.0,
}


class _Circuit:
    """A circuit and what its server holds of it."""

    def __init__(self, client: redis.Redis, url: str, prefix: str) -> None:
        self._client = client
        self._url = url
        self._prefix = prefix
        self.keys = Keys(client, prefix)

    def closed(self, **rules: Any) -> CircuitBreaker:
        """Return a breaker of it that opens at the first failure."""
        return make_breaker(self._url, self._prefix, **{"failure_threshold": 1, **rules})

    def half_open(self, **rules: Any) -> CircuitBreaker:
        """Return a breaker of it whose next call is a probe."""
        breaker = make_breaker(self._url, self._prefix, **{**_ONE_PLACE, **rules})
        fail_once(breaker)
        time.sleep(breaker.config.timeout_seconds + 0.01)
        return breaker

    def places_taken(self) -> int:
        """Return how many probes the server knows of."""
        return int(self._client.zcard(self.keys.probes))

    def is_free(self) -> bool:
        """Return whether it knows of none."""
        return self.places_taken() == 0


@pytest.fixture
def circuit(any_server: RunningServer, prefix: str) -> Iterator[_Circuit]:
    """The circuit of the test."""
    with any_server.client() as client:
        yield _Circuit(client, any_server.url, prefix)


def _three() -> Generator[int, Any, str]:
    yield 1
    yield 2
    yield 3
    return "the end"


async def _three_async() -> AsyncGenerator[int, Any]:
    for item in (1, 2, 3):
        await asyncio.sleep(0)
        yield item


async def _collect(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def _failing(error: BaseException) -> Start:
    def start() -> Iterator[int]:
        yield 1
        raise error

    return start


def _failing_async(error: BaseException) -> Start:
    async def start() -> AsyncIterator[int]:
        yield 1
        raise error

    return start


class TestGenerators:
    """Plain generators."""

    @every_way
    def test_the_whole_walk_is_one_call(self, circuit: _Circuit, way: Way) -> None:
        """All items and the value of the end arrive; it counts once, at the end."""
        breaker = circuit.half_open()

        def walk() -> Generator[int, Any, Any]:
            return (yield from way(breaker, _three))

        walking = walk()
        assert next(walking) == 1
        assert circuit.places_taken() == 1
        assert (next(walking), next(walking)) == (2, 3)
        assert circuit.places_taken() == 1
        with pytest.raises(StopIteration) as ended:
            next(walking)
        assert ended.value.value == "the end"
        assert circuit.is_free()
        assert list(way(breaker, _three)) == [1, 2, 3]
        assert breaker.is_closed
        assert breaker.stats.successful_calls == 2

    @every_way
    def test_an_error_between_items_is_a_failure(self, circuit: _Circuit, way: Way) -> None:
        """It opens the circuit before the consumer sees it, unchanged."""
        breaker = circuit.closed()
        error = ServiceFailed("in the middle")
        items = way(breaker, _failing(error))
        assert next(items) == 1
        with pytest.raises(ServiceFailed) as caught:
            next(items)
        assert circuit.keys.field("state") == "open"
        assert caught.value is error
        assert (error.__cause__, error.__context__) == (None, None)

    @every_lazy_way
    def test_an_open_circuit_rejects_at_the_first_item(self, circuit: _Circuit, way: Way) -> None:
        """The generator is not begun, and the rejection is raised where the item is asked for."""
        breaker = circuit.closed(timeout_seconds=60.0)
        fail_once(breaker)
        begun: list[int] = []

        def start() -> Iterator[int]:
            begun.append(1)
            yield 1

        items = way(breaker, start)
        with pytest.raises(CircuitBreakerOpenError):
            next(items)
        assert begun == []
        with pytest.raises(StopIteration):
            next(items)

    @every_way
    def test_an_early_close_is_neutral(self, circuit: _Circuit, way: Way) -> None:
        """It frees the place at once and is no outcome; the generator's own cleanup runs."""
        breaker = circuit.half_open()
        cleaned: list[int] = []

        def start() -> Iterator[int]:
            try:
                yield from _three()
            finally:
                cleaned.append(1)

        for _ in range(3):
            items = way(breaker, start)
            assert next(items) == 1
            assert circuit.places_taken() == 1
            items.close()
            assert circuit.is_free()
        assert cleaned == [1, 1, 1]
        assert circuit.keys.field("state") == "half_open"
        assert breaker.stats.total_calls == 1

    @every_way
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
    def test_interrupts_are_neutral(
        self, circuit: _Circuit, way: Way, error: type[BaseException]
    ) -> None:
        """They pass unchanged and free the place."""
        breaker = circuit.half_open()
        raised = error("neutral")
        with pytest.raises(error) as caught:
            list(way(breaker, _failing(raised)))
        assert caught.value is raised
        assert circuit.is_free()
        assert circuit.keys.field("state") == "half_open"

    @every_way
    def test_thrown_away_it_frees_its_place(self, circuit: _Circuit, way: Way) -> None:
        """A loop that was left, and a generator in a knot that only the collector unties."""
        breaker = circuit.half_open()
        for item in way(breaker, _three):
            assert item == 1
            break
        gc.collect()
        assert circuit.is_free()
        knot: list[Any] = [way(breaker, _three)]
        knot.append(knot)
        next(knot[0])
        assert circuit.places_taken() == 1
        del knot
        gc.collect()
        assert circuit.is_free()
        assert circuit.keys.field("state") == "half_open"

    @every_lazy_way
    def test_never_begun_it_never_happens(self, circuit: _Circuit, way: Way) -> None:
        """Without a first item there is no call, and nothing is asked."""
        breaker = circuit.closed()
        items = way(breaker, _three)
        items.close()
        way(breaker, _three)
        gc.collect()
        assert circuit.keys.own() == []

    @every_way
    def test_what_the_consumer_sends_and_throws_arrives(self, circuit: _Circuit, way: Way) -> None:
        """send() and throw() reach the generator; an error that it handles is no failure."""
        breaker = circuit.closed()
        got: list[Any] = []

        def echo() -> Generator[Any, Any, str]:
            answer: Any = "ready"
            while answer != "stop":
                try:
                    answer = yield answer
                except KeyError as error:
                    answer = error
                got.append(answer)
            return "stopped"

        items = way(breaker, echo)
        error = KeyError("thrown")
        assert next(items) == "ready"
        assert items.send("a") == "a"
        assert items.throw(error) is error
        with pytest.raises(StopIteration) as ended:
            items.send("stop")
        assert ended.value.value == "stopped"
        assert got == ["a", error, "stop"]
        assert breaker.stats.successful_calls == 1

    @every_way
    def test_a_thrown_error_that_comes_out_again_counts(self, circuit: _Circuit, way: Way) -> None:
        """It is the generator's answer then, and the same object."""
        breaker = circuit.closed()
        items = way(breaker, _three)
        next(items)
        error = ServiceFailed("thrown")
        with pytest.raises(ServiceFailed) as caught:
            items.throw(error)
        assert caught.value is error
        assert breaker.is_open

    @every_way
    def test_an_error_of_the_cleanup_counts(self, circuit: _Circuit, way: Way) -> None:
        """A generator that fails when it is closed has failed; one that just ends has not."""
        breaker = circuit.closed()

        def start(error: Exception | None) -> Iterator[int]:
            try:
                yield 1
            except GeneratorExit:
                if error is not None:
                    raise error from None

        items = way(breaker, lambda: start(None))
        next(items)
        items.close()
        assert breaker.stats.total_calls == 0
        items = way(breaker, lambda: start(ServiceFailed("in the cleanup")))
        next(items)
        with pytest.raises(ServiceFailed):
            items.close()
        assert breaker.is_open

    def test_a_context_manager_may_stand_on_a_guarded_generator(self, circuit: _Circuit) -> None:
        """contextlib.contextmanager works as always; an error of the block that passes counts."""
        breaker = circuit.closed(failure_threshold=3)

        @contextlib.contextmanager
        @breaker.decorate
        def connection() -> Iterator[str]:
            yield "connected"

        def leave_with(error: Exception) -> None:
            with connection() as state:
                assert state == "connected"
                raise error

        with connection() as state:
            assert state == "connected"
        assert breaker.stats.successful_calls == 1
        for error in (ServiceFailed("block"), StopIteration("block"), RuntimeError("block")):
            with pytest.raises(type(error)) as caught:
                leave_with(error)
            assert caught.value is error
        assert breaker.is_open

    def test_a_decorated_one_looks_like_its_own(self, circuit: _Circuit) -> None:
        """It stays a generator function with its name, and binds as a method."""
        breaker = circuit.closed()
        guarded: Any = breaker.decorate(_three)
        assert inspect.isgeneratorfunction(guarded)
        assert guarded.__name__ == "_three"
        assert guarded().__qualname__ == "_three"
        assert guarded.circuit_breaker is breaker

        class Source:
            @breaker.decorate
            def items(self, number: int) -> Iterator[int]:
                yield from range(number)

        assert list(Source().items(3)) == [0, 1, 2]

    def test_an_awaitable_generator_stays_awaitable(self, circuit: _Circuit, run: Run) -> None:
        """What types.coroutine() made of a generator function is a coroutine function."""
        import types

        breaker = circuit.closed()

        @types.coroutine
        def old_style() -> Generator[Any, Any, int]:
            yield from asyncio.sleep(0).__await__()
            return 42

        async def main() -> None:
            assert await breaker.call(old_style) == 42
            assert await breaker.decorate(old_style)() == 42
            assert await breaker.call(lambda: old_style()) == 42

        run(main())
        assert breaker.stats.successful_calls == 3


class TestAsyncGenerators:
    """Asynchronous generators."""

    @every_way
    def test_the_whole_walk_is_one_call(self, circuit: _Circuit, way: Way, run: Run) -> None:
        """All items arrive; it counts once, at the end."""
        breaker = circuit.half_open(call_timeout=5.0)

        async def main() -> None:
            items = way(breaker, _three_async)
            assert await anext(items) == 1
            assert circuit.places_taken() == 1
            assert await _collect(items) == [2, 3]
            assert circuit.is_free()
            assert await _collect(way(breaker, _three_async)) == [1, 2, 3]

        run(main())
        assert breaker.is_closed
        assert breaker.stats.successful_calls == 2

    @every_way
    def test_an_error_between_items_is_a_failure(
        self, circuit: _Circuit, way: Way, run: Run
    ) -> None:
        """It opens the circuit before the consumer sees it, unchanged."""
        breaker = circuit.closed()
        error = ServiceFailed("in the middle")

        async def main() -> None:
            items = way(breaker, _failing_async(error))
            assert await anext(items) == 1
            with pytest.raises(ServiceFailed) as caught:
                await anext(items)
            assert circuit.keys.field("state") == "open"
            assert caught.value is error

        run(main())
        assert (error.__cause__, error.__context__) == (None, None)

    @every_lazy_way
    def test_an_open_circuit_rejects_at_the_first_item(
        self, circuit: _Circuit, way: Way, run: Run
    ) -> None:
        """The generator is not begun, and the rejection is raised where the item is asked for."""
        breaker = circuit.closed(timeout_seconds=60.0)
        fail_once(breaker)
        begun: list[int] = []

        async def start() -> AsyncIterator[int]:
            begun.append(1)
            yield 1

        async def main() -> None:
            with pytest.raises(CircuitBreakerOpenError):
                await anext(way(breaker, start))

        run(main())
        assert begun == []

    @every_way
    def test_an_early_close_is_neutral(self, circuit: _Circuit, way: Way, run: Run) -> None:
        """It frees the place soon and is no outcome; the generator's own cleanup has run."""
        breaker = circuit.half_open()
        cleaned: list[int] = []

        async def start() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                cleaned.append(1)

        async def main() -> None:
            for number in range(3):
                async with contextlib.aclosing(way(breaker, start)) as items:
                    async for item in items:
                        assert item == 1
                        assert circuit.places_taken() == 1
                        break
                assert len(cleaned) == number + 1
                assert await until(circuit.is_free) < 1.0

        run(main())
        assert circuit.keys.field("state") == "half_open"
        assert breaker.stats.total_calls == 1

    @every_way
    def test_thrown_away_it_frees_its_place(self, circuit: _Circuit, way: Way, run: Run) -> None:
        """A loop that was left without a close: Python closes it, and it says nothing."""
        breaker = circuit.half_open()
        cleaned: list[int] = []

        async def start() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                cleaned.append(1)

        async def main() -> None:
            async for _ in way(breaker, start):
                break
            gc.collect()
            await until(circuit.is_free)
            assert cleaned == [1]

        run(main())
        assert circuit.keys.field("state") == "half_open"

    @every_way
    def test_a_loop_that_ends_closes_it_in_silence(
        self, circuit: _Circuit, way: Way, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The loop and the guarded generator do not both close the inner one; nothing counts."""
        breaker = circuit.half_open()
        kept: list[Any] = []

        async def start() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                await asyncio.sleep(0.001)
                kept.append("cleaned")

        async def main() -> None:
            kept.extend(way(breaker, start) for _ in range(1))
            assert await anext(kept[0]) == 1

        with caplog.at_level(logging.WARNING):
            run(main())
        assert kept[1:] == ["cleaned"]
        asyncio.run(_until_free(circuit))
        assert caplog.messages == []
        assert circuit.keys.field("state") == "half_open"

    @every_lazy_way
    def test_never_begun_it_never_happens(self, circuit: _Circuit, way: Way, run: Run) -> None:
        """Without a first item there is no call, no warning, and nothing is asked."""
        breaker = circuit.closed()

        async def main() -> None:
            way(breaker, _three_async)
            await way(breaker, _three_async).aclose()
            gc.collect()

        run(main())
        assert circuit.keys.own() == []

    @every_way
    def test_a_cancelled_walk_is_neutral(self, circuit: _Circuit, way: Way, run: Run) -> None:
        """Cancelled while an item is awaited, or in its consumer: the place is free soon."""
        breaker = circuit.half_open(call_timeout=30.0)

        async def slow() -> AsyncIterator[int]:
            yield 1
            await asyncio.sleep(60)

        async def walk(first: asyncio.Event, pause: float) -> None:
            async with contextlib.aclosing(way(breaker, slow)) as items:
                async for _ in items:
                    first.set()
                    await asyncio.sleep(pause)

        async def main() -> None:
            for pause in (0.0, 60.0):
                first = asyncio.Event()
                task = asyncio.create_task(walk(first, pause))
                await first.wait()
                await asyncio.sleep(0.005)
                assert circuit.places_taken() == 1
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await until(circuit.is_free) < 1.0

        run(main())
        assert circuit.keys.field("state") == "half_open"
        assert breaker.stats.total_calls == 1

    def test_the_time_limit_is_for_all_items_without_the_consumers_time(
        self, circuit: _Circuit, run: Run
    ) -> None:
        """A slow consumer costs the generator nothing; its own time adds up over the items."""
        breaker = circuit.closed(call_timeout=0.5)

        async def start(items: int) -> AsyncIterator[int]:
            for item in range(items):
                await asyncio.sleep(0.02)
                yield item

        async def main() -> None:
            seen = []
            async for item in breaker.call(start, 3):
                seen.append(item)
                await asyncio.sleep(0.25)
            assert seen == [0, 1, 2]
            assert await breaker.get_state_async() is CircuitState.CLOSED
            seen.clear()
            with pytest.raises(TimeoutError, match=r"call_timeout of 0\.5 s") as caught:
                seen.extend([item async for item in breaker.call(start, 1000)])
            assert type(caught.value) is TimeoutError
            assert caught.value.__suppress_context__
            assert await breaker.get_state_async() is CircuitState.OPEN

        run(main())

    @pytest.mark.parametrize("answers", [0, 1])
    def test_one_that_ignores_its_time_limit_is_late_all_the_same(
        self, circuit: _Circuit, run: Run, answers: int
    ) -> None:
        """An item, or the end, after the time is up is not passed on; the generator is closed."""
        breaker = circuit.closed(call_timeout=0.02, exception_types=(KeyError,))
        closed: list[int] = []

        async def stubborn() -> AsyncIterator[str]:
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
                for _ in range(answers):
                    yield "late"
            finally:
                await asyncio.sleep(0)
                closed.append(1)

        async def main() -> None:
            with pytest.raises(TimeoutError) as caught:
                await _collect(breaker.call(stubborn))
            assert caught.value.__cause__ is None
            assert closed == [1]
            assert await breaker.get_state_async() is CircuitState.OPEN

        run(main())

    @every_way
    def test_what_the_consumer_sends_and_throws_arrives(
        self, circuit: _Circuit, way: Way, run: Run
    ) -> None:
        """asend() and athrow() reach the generator; an error that it handles is no failure."""
        breaker = circuit.closed(call_timeout=5.0)

        async def echo() -> AsyncGenerator[Any, Any]:
            answer: Any = "ready"
            while answer != "stop":
                try:
                    answer = yield answer
                except KeyError as error:
                    answer = error
                await asyncio.sleep(0)

        async def main() -> None:
            items = way(breaker, echo)
            error = KeyError("thrown")
            assert await anext(items) == "ready"
            assert await items.asend("a") == "a"
            assert await items.athrow(error) is error
            with pytest.raises(StopAsyncIteration):
                await items.asend("stop")
            assert (await breaker.get_stats_async())["successful_calls"] == 1
            items = way(breaker, _three_async)
            await anext(items)
            thrown = ServiceFailed("thrown")
            with pytest.raises(ServiceFailed) as caught:
                await items.athrow(thrown)
            assert caught.value is thrown
            assert await breaker.get_state_async() is CircuitState.OPEN

        run(main())

    def test_a_context_manager_may_stand_on_a_guarded_generator(
        self, circuit: _Circuit, run: Run
    ) -> None:
        """contextlib.asynccontextmanager works; an error of the block that passes counts."""
        breaker = circuit.closed()

        @contextlib.asynccontextmanager
        @breaker.decorate
        async def connection() -> AsyncIterator[str]:
            yield "connected"

        async def leave_with(error: Exception) -> None:
            async with connection():
                raise error

        async def main() -> None:
            async with connection() as state:
                assert state == "connected"
            error = ServiceFailed("block")
            with pytest.raises(ServiceFailed) as caught:
                await leave_with(error)
            assert caught.value is error
            with pytest.raises(CircuitBreakerOpenError):
                await leave_with(error)

        run(main())
        assert (breaker.stats.successful_calls, breaker.stats.failed_calls) == (1, 1)

    def test_the_store_is_never_asked_on_the_loops_thread(
        self, circuit: _Circuit, run: Run
    ) -> None:
        """Not for the first item, the end, an early close, a failure or a time-out."""
        breaker = circuit.half_open(
            call_timeout=0.3, timeout_seconds=0.5, half_open_max_calls=2, success_threshold=1
        )

        async def slow() -> AsyncIterator[int]:
            yield 1
            await asyncio.sleep(60)

        async def main() -> set[str]:
            with store_watched() as seen:
                items: Any = breaker.call(_three_async)
                await anext(items)
                await items.aclose()
                assert await _collect(breaker.call(_three_async)) == [1, 2, 3]
                with pytest.raises(TimeoutError):
                    await _collect(breaker.call(slow))
                with pytest.raises(CircuitBreakerOpenError):
                    await _collect(breaker.call(slow))
                await asyncio.sleep(0.52)
                with pytest.raises(ServiceFailed):
                    await _collect(breaker.call(_failing_async(ServiceFailed("failed"))))
            return seen

        assert run(main()) == set()

    def test_a_decorated_one_looks_like_its_own(self, circuit: _Circuit, run: Run) -> None:
        """It stays an async generator function with its name, and binds as a method."""
        breaker = circuit.closed()
        guarded: Any = breaker.decorate(_three_async)
        assert inspect.isasyncgenfunction(guarded)
        assert guarded.__name__ == "_three_async"
        assert guarded().__qualname__ == "_three_async"
        assert guarded.circuit_breaker is breaker

        class Source:
            @breaker.decorate
            async def items(self, number: int) -> AsyncIterator[int]:
                for item in range(number):
                    yield item

        async def main() -> None:
            assert await _collect(Source().items(3)) == [0, 1, 2]

        run(main())


async def _until_free(circuit: _Circuit) -> None:
    await until(circuit.is_free)
