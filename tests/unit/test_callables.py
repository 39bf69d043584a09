"""Which callables can be guarded."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from bb5_breaker._shell.callables import check_callable, is_unfinished, refuse_unfinished


async def work() -> int:
    """A coroutine function."""
    return 1


def count() -> Iterator[int]:
    """A generator function."""
    yield 1


async def stream() -> AsyncIterator[int]:
    """An asynchronous generator function."""
    yield 1


class Worker:
    """A class with all kinds of methods."""

    def do(self) -> int:
        """A plain method."""
        return 1

    async def wait(self) -> int:
        """A coroutine method."""
        return 1

    def __call__(self) -> int:
        """A call of the object itself."""
        return 1


@functools.wraps(work)
def run_to_the_end() -> int:
    """A plain function that is dressed as the coroutine function it runs."""
    return asyncio.run(work())


@pytest.mark.parametrize(
    "func", [int, len, lambda: 1, Worker, Worker().do, Worker(), functools.partial(len, ""), print]
)
def test_plain_callables_pass(func: Any) -> None:
    """Functions, built-ins, classes, methods, partials and objects with __call__ are guarded."""
    check_callable(func)


def test_a_function_is_judged_by_its_own_code() -> None:
    """A plain function that wraps a coroutine function and runs it is plain."""
    check_callable(run_to_the_end)


@pytest.mark.parametrize("func", [work, count, stream, functools.partial(work), Worker().wait])
def test_lazy_functions_are_refused(func: Any) -> None:
    """What only makes an object that runs later is a TypeError that says why."""
    with pytest.raises(TypeError, match="body runs only after the call returned"):
        check_callable(func)


@pytest.mark.parametrize("func", [None, 3, "name", work.__doc__, object()])
def test_other_objects_are_refused(func: Any) -> None:
    """What can not be called is a TypeError that says what to pass."""
    with pytest.raises(TypeError, match="pass the function and its arguments"):
        check_callable(func)


def test_an_unfinished_result_is_closed() -> None:
    """A coroutine or generator that a plain function returned is closed, and refused."""
    coroutine, generator = work(), count()
    for result in (coroutine, generator):
        assert is_unfinished(result)
        with pytest.raises(TypeError, match="has not run yet"):
            refuse_unfinished(result)
    assert coroutine.cr_frame is None
    assert not is_unfinished([1])
