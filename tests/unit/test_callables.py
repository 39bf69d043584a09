"""What kinds of callables there are, and what they may leave unfinished."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from bb5_breaker._shell.callables import UNFINISHED, CallKind, kind_of, kind_of_unfinished


async def work() -> int:
    """A coroutine function."""
    return 1


def count() -> Iterator[int]:
    """A generator function."""
    yield 1


async def stream() -> AsyncIterator[int]:
    """An asynchronous generator function."""
    yield 1


@types.coroutine
def old_work() -> Generator[Any, Any, int]:
    """A generator function that is awaited."""
    yield
    return 1


class Worker:
    """A class with all kinds of methods, called like a plain function."""

    def do(self) -> int:
        """A plain method."""
        return 1

    async def wait(self) -> int:
        """A coroutine method."""
        return 1

    @classmethod
    async def wait_for_all(cls) -> int:
        """A coroutine method of the class."""
        return 1

    @staticmethod
    def count() -> Iterator[int]:
        """A static generator method."""
        yield 1

    async def stream(self) -> AsyncIterator[int]:
        """An asynchronous generator method."""
        yield 1

    def __call__(self) -> int:
        """A call of the object itself."""
        return 1


class AsyncWorker:
    """A class whose objects are called like a coroutine function."""

    async def __call__(self) -> int:
        """A call of the object itself."""
        return 1


class Counter:
    """A class whose objects are called like a generator function."""

    def __call__(self) -> Iterator[int]:
        """A call of the object itself."""
        yield 1


@functools.wraps(work)
def run_to_the_end() -> int:
    """A plain function that is dressed as the coroutine function it runs."""
    return asyncio.run(work())


PLAIN: list[Any] = [
    int,
    len,
    print,
    lambda: 1,
    Worker,
    Worker().do,
    Worker(),
    AsyncWorker,
    Counter,
    functools.partial(len, ""),
    functools.partial(AsyncWorker),
    functools.lru_cache(Worker().do),
    Mock(),
    run_to_the_end,
]
COROUTINE: list[Any] = [
    work,
    old_work,
    Worker().wait,
    Worker.wait_for_all,
    AsyncWorker(),
    AsyncWorker().__call__,
    functools.partial(work),
    functools.partial(functools.partial(Worker().wait)),
    functools.partial(AsyncWorker()),
    AsyncMock(),
]
GENERATOR: list[Any] = [count, Worker.count, Counter(), functools.partial(count)]
ASYNC_GENERATOR: list[Any] = [stream, Worker().stream, functools.partial(stream)]


@pytest.mark.parametrize(
    ("kind", "func"),
    [
        *((CallKind.PLAIN, func) for func in PLAIN),
        *((CallKind.COROUTINE, func) for func in COROUTINE),
        *((CallKind.GENERATOR, func) for func in GENERATOR),
        *((CallKind.ASYNC_GENERATOR, func) for func in ASYNC_GENERATOR),
    ],
)
def test_a_function_is_judged_by_the_code_that_it_runs(kind: CallKind, func: Any) -> None:
    """Methods, partials and objects by what they call; a wrapper by its own code."""
    assert kind_of(func) is kind


@pytest.mark.parametrize(
    "func", [None, 3, "name", work.__doc__, object(), vars(Worker)["wait_for_all"]]
)
def test_other_objects_are_refused(func: Any) -> None:
    """What can not be called is a TypeError that says what to pass."""
    with pytest.raises(TypeError, match="pass the function and its arguments"):
        kind_of(func)


def test_a_coroutine_is_no_function() -> None:
    """The result of a call is refused as well, and told apart from the function by its type."""
    begun = work()
    with pytest.raises(TypeError, match="got coroutine"):
        kind_of(begun)
    begun.close()


def test_unfinished_results_are_told_from_finished_ones() -> None:
    """A coroutine, a generator, an async generator; lists, iterators and awaited things are not."""
    coroutine, old_coroutine = work(), old_work()
    unfinished: list[tuple[Any, CallKind]] = [
        (coroutine, CallKind.COROUTINE),
        (old_coroutine, CallKind.COROUTINE),
        (count(), CallKind.GENERATOR),
        (stream(), CallKind.ASYNC_GENERATOR),
    ]
    for result, kind in unfinished:
        assert type(result) in UNFINISHED
        assert kind_of_unfinished(result) is kind
    coroutine.close()
    for finished in ([1], iter([1]), None, range(3), map(int, "1")):
        assert type(finished) not in UNFINISHED
