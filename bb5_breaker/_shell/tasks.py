"""Running guarded calls in an event loop.

What must ask the store does so on a thread aside of the loop; everything else happens in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar

from bb5_breaker._core.commands import Outcome
from bb5_breaker._core.outcomes import name_error
from bb5_breaker._core.seen import Seen
from bb5_breaker._core.tally import Tally
from bb5_breaker._shell.aside import ask_aside, start_aside
from bb5_breaker._shell.deadlines import CallExpired
from bb5_breaker._shell.guard import Guard, Leave

__all__ = [
    "admit_task",
    "await_in_time",
    "expire_task",
    "fail_task",
    "guard_task",
    "release_task",
    "run_admitted_task",
    "succeed_task",
]

T = TypeVar("T")


def guard_task(
    guard: Guard, func: Callable[..., Awaitable[T]]
) -> Callable[..., Coroutine[Any, Any, T]]:
    """Return a coroutine function that awaits ``func`` when the circuit lets it.

    Result and error are the caller's. As for plain functions, all that a closed circuit costs
    happens in this one frame.
    """

    async def guarded(*args: Any, **kwargs: Any) -> T:
        tally = guard.tally
        if monotonic() >= tally.lease.until:
            leave = await admit_task(guard)
            if type(leave) is not Tally:
                return await run_admitted_task(guard, leave, func, args, kwargs)
            tally = leave
        if guard.call_timeout is not None:
            return await run_admitted_task(guard, tally, func, args, kwargs)
        try:
            result = await func(*args, **kwargs)
        except BaseException as error:
            await fail_task(guard, tally, error)
            raise
        tally.count = count = tally.count + 1
        tally.last = monotonic()
        if count >= tally.mark:
            guard.attend(tally)
        return result

    return guarded


async def run_admitted_task(
    guard: Guard,
    leave: Leave,
    func: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> T:
    """Await an admitted call and report how it ended, with its call_timeout."""
    try:
        result = await await_in_time(func(*args, **kwargs), guard.call_timeout)
    except CallExpired as expired:
        raise await expire_task(guard, leave, expired) from expired.__cause__
    except BaseException as error:
        await fail_task(guard, leave, error)
        raise
    await succeed_task(guard, leave)
    return result


async def await_in_time(work: Awaitable[T], seconds: float | None) -> T:
    """Await something for at most so long; None waits for ever.

    Raises:
        CallExpired: The time is up and what was awaited has been cancelled, whatever it made of
            that; an error of its own that it answered with is the cause.
    """
    if seconds is None:
        return await work
    cause = None
    try:
        async with asyncio.timeout(seconds) as limit:
            result = await work
    except Exception as error:
        if not limit.expired():
            raise
        # The two that say no more than that it ended.
        cause = None if isinstance(error, TimeoutError | StopAsyncIteration) else error
    else:
        if not limit.expired():
            return result
    try:
        raise CallExpired(f"the call took longer than its call_timeout of {seconds:g} s") from cause
    finally:
        # The traceback of an error refers to this frame; do not tie a knot.
        del cause


async def admit_task(guard: Guard) -> Leave:
    """Return the leave to run a call.

    Raises:
        CircuitBreakerOpenError: The circuit is open, or half-open with every place taken.
    """
    known = guard.decide() if guard.is_ready else None
    if isinstance(known, Seen):
        raise guard.reject(known)
    if known is not None:
        return known
    asking = _Asking(guard)
    try:
        return await ask_aside(asking.run)
    except (asyncio.CancelledError, GeneratorExit):
        asking.abandon()
        raise


async def succeed_task(guard: Guard, leave: Leave) -> None:
    """Report that an admitted call returned."""
    if type(leave) is Tally:
        guard.succeed(leave)
    else:
        await _settle_task(guard, leave, Outcome.SUCCESS, "")


async def fail_task(guard: Guard, leave: Leave, error: BaseException) -> None:
    """Report that an admitted call raised; what that means is the configuration's.

    A task that is cancelled, or a process that ends, does not wait for the report.
    """
    outcome = guard.judge(error)
    if outcome is Outcome.NEUTRAL and not isinstance(error, Exception):
        release_task(guard, leave)
    else:
        await _settle_task(guard, leave, outcome, name_error(error))


async def expire_task(guard: Guard, leave: Leave, expired: CallExpired) -> TimeoutError:
    """Report that an admitted call took too long, and return the error for its caller."""
    # Always a failure, whatever exception_types says; and a plain TimeoutError from here on, so
    # that a breaker around this one judges it by its own.
    await _settle_task(guard, leave, Outcome.FAILURE, name_error(TimeoutError()))
    return TimeoutError(*expired.args)


def release_task(guard: Guard, leave: Leave) -> None:
    """Give up an admitted call that says nothing, without waiting for the store."""
    if leave.token is not None:
        start_aside(guard.release, leave)


async def _settle_task(guard: Guard, leave: Leave, outcome: Outcome, error: str) -> None:
    # What is neutral and holds no place needs no report.
    if outcome is not Outcome.NEUTRAL or leave.token is not None:
        await ask_aside(lambda: guard.settle(leave, outcome, error))


class _Asking:
    """A question for leave whose answer perhaps nobody waits for any more."""

    __slots__ = ("_claim", "_guard", "_leave")

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._leave: Leave | None = None
        # Who takes it first, the thread with the answer or the task that is cancelled,
        # leaves the giving back to the other.
        self._claim = [None]

    def run(self) -> Leave:
        """Ask, and give back at once what came too late."""
        if not self._claim:
            # Given up while it waited for a thread: no place must be taken for nothing.
            raise asyncio.CancelledError
        leave = self._leave = self._guard.ask()
        if not self._take_claim():
            self._guard.release(leave)
        return leave

    def abandon(self) -> None:
        """Nobody waits any more."""
        if not self._take_claim() and self._leave is not None:
            start_aside(self._guard.release, self._leave)

    def _take_claim(self) -> bool:
        try:
            self._claim.pop()
        except IndexError:
            return False
        return True
