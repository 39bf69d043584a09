"""What type checkers must infer of guarded calls; checked by mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import NoReturn, assert_type

from bb5_breaker import CallResult, CircuitBreaker, protect


def plain(number: int) -> str:
    """A plain function."""
    return str(number)


def fail() -> NoReturn:
    """A plain function that never returns."""
    raise ValueError


async def fetch(number: int, *, name: str = "") -> bytes:
    """A coroutine function."""
    return name.encode() * number


def count() -> Iterator[int]:
    """A generator function."""
    yield 1


async def stream() -> AsyncIterator[int]:
    """An asynchronous generator function."""
    yield 1


class Remote:
    """An object that is called like a coroutine function."""

    async def __call__(self) -> float:
        """Call it."""
        return 1.0


async def check_calls(breaker: CircuitBreaker) -> None:
    """call() gives what the function gives."""
    assert_type(breaker.call(plain, 1), str)
    assert_type(await breaker.call(fetch, 1, name="a"), bytes)
    assert_type(await breaker.call(Remote()), float)
    assert_type(breaker.call(count), Iterator[int])
    async for item in breaker.call(stream):
        assert_type(item, int)


async def check_results(breaker: CircuitBreaker) -> None:
    """call_result() gives a result, or a coroutine of one."""
    assert_type(breaker.call_result(plain, 1), CallResult)
    assert_type(breaker.call_result(fail), CallResult)
    assert_type(breaker.call_result(lambda: 1), CallResult)
    assert_type(await breaker.call_result(fetch, 1), CallResult)
    assert_type(await breaker.call_result(Remote()), CallResult)


async def check_decorators(breaker: CircuitBreaker) -> None:
    """Decorated functions keep their parameters and their results."""
    assert_type(breaker.decorate(plain)(1), str)
    guarded = protect("service")(fetch)
    assert_type(await guarded(1, name="a"), bytes)
    await guarded("1")  # type: ignore[arg-type]
    async with breaker.protect() as nothing:
        assert_type(nothing, None)
