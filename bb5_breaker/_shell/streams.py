"""Guarded generator functions: one call from the first item to the end.

Closed early by their consumer, or thrown away, they say nothing about the service. An error that
the consumer throws in counts like one of their own when it comes out again.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from time import monotonic
from typing import Any, TypeVar

from bb5_breaker._shell.deadlines import CallExpired
from bb5_breaker._shell.guard import Guard, Leave
from bb5_breaker._shell.tasks import (
    admit_task,
    await_in_time,
    expire_task,
    fail_task,
    release_task,
    succeed_task,
)

__all__ = ["guard_async_stream", "guard_stream"]

T = TypeVar("T")


def guard_stream(
    guard: Guard, func: Callable[..., Generator[Any, Any, T]], leave: Leave | None = None
) -> Callable[..., Generator[Any, Any, T]]:
    """Return a generator function that runs another; call_timeout does not apply.

    Args:
        guard: The circuit.
        func: Makes the generator.
        leave: The leave to run it; None to ask for it with the first item.
    """

    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, T]:
        items = func(*args, **kwargs)
        held = guard.admit() if leave is None else leave
        try:
            result = yield from items
        except GeneratorExit:
            guard.release(held)
            raise
        except BaseException as error:
            guard.fail(held, error)
            raise
        guard.succeed(held)
        return result

    return guarded


def guard_async_stream(
    guard: Guard, func: Callable[..., AsyncGenerator[Any, Any]], leave: Leave | None = None
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return an async generator function that runs another.

    Its call_timeout is for the time that the generator takes itself, all items together.

    Args:
        guard: The circuit.
        func: Makes the generator.
        leave: The leave to run it; None to ask for it with the first item.
    """

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        items = func(*args, **kwargs)
        held = await admit_task(guard) if leave is None else leave
        clock = _Stopwatch(guard.call_timeout)
        step = _first_step(items)
        try:
            while True:
                try:
                    item = await clock.time(step)
                except StopAsyncIteration:
                    break
                try:
                    sent = yield item
                except GeneratorExit:
                    await items.aclose()
                    raise
                except BaseException as thrown:
                    step = items.athrow(thrown)
                else:
                    step = items.asend(sent)
        except GeneratorExit:
            release_task(guard, held)
            raise
        except CallExpired as expired:
            raise await _expire_stream(guard, held, expired, items) from expired.__cause__
        except BaseException as error:
            await fail_task(guard, held, error)
            raise
        await succeed_task(guard, held)

    return guarded


def _first_step(items: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Begin a generator that its loop does not know of.

    The guarded one closes it; a loop that ends would do so as well, in the same moment.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return items.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


async def _expire_stream(
    guard: Guard, leave: Leave, expired: CallExpired, items: AsyncGenerator[Any, Any]
) -> TimeoutError:
    error = await expire_task(guard, leave, expired)
    # It may have ignored that it was cancelled, and have stopped at an item.
    await items.aclose()
    return error


class _Stopwatch:
    """The time that a generator may take itself, in seconds; None for any."""

    __slots__ = ("_left", "_seconds")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = self._left = seconds

    async def time(self, step: Awaitable[T]) -> T:
        """Await one item within what is left.

        Raises:
            CallExpired: The time is up.
        """
        if self._left is None or self._seconds is None:
            return await step
        begun = monotonic()
        try:
            return await await_in_time(step, self._left)
        except CallExpired as expired:
            raise CallExpired(
                f"the generator took longer than its call_timeout of {self._seconds:g} s"
            ) from expired.__cause__
        finally:
            self._left -= monotonic() - begun
