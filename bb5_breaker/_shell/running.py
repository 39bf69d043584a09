"""Running guarded calls of plain functions."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar, cast

from bb5_breaker._core.seen import Seen
from bb5_breaker._core.tally import Tally
from bb5_breaker._shell.callables import UNFINISHED, CallKind, kind_of_unfinished
from bb5_breaker._shell.deadlines import CallExpired, call_pool
from bb5_breaker._shell.guard import Guard, Leave
from bb5_breaker._shell.streams import guard_async_stream, guard_stream
from bb5_breaker._shell.tasks import run_admitted_task

__all__ = ["guard_plain", "run_admitted", "run_to_return"]

T = TypeVar("T")


def guard_plain(guard: Guard, func: Callable[..., T]) -> Callable[..., T]:
    """Return a function that runs ``func`` when the circuit lets it.

    Result and error are the caller's. A coroutine or generator that it returns is guarded on to
    its end. All that a closed or open circuit costs happens in this one frame: each further one
    would cost as much as the decision.
    """

    run_with = call_pool().run_with

    def guarded(*args: Any, **kwargs: Any) -> T:
        tally = guard.tally
        if monotonic() >= tally.lease.until:
            leave = guard.decide()
            if type(leave) is Seen:
                raise guard.reject(leave)
            if type(leave) is not Tally:
                return run_admitted(guard, guard.ask(), func, args, kwargs)
            tally = leave
        limit = guard.call_timeout
        try:
            result = func(*args, **kwargs) if limit is None else run_with(func, limit, args, kwargs)
        except CallExpired as expired:
            raise _expire(guard, tally, expired) from None
        except BaseException as error:
            guard.fail(tally, error)
            raise
        if type(result) in UNFINISHED:
            return cast(T, _finish(guard, tally, result))
        tally.count = count = tally.count + 1
        tally.last = monotonic()
        if count >= tally.mark:
            guard.attend(tally)
        return result

    return guarded


def run_admitted(
    guard: Guard,
    leave: Leave,
    func: Callable[..., T],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> T:
    """Run an admitted call and report how it ended, with its call_timeout."""
    result = run_to_return(guard, leave, func, args, kwargs)
    if type(result) in UNFINISHED:
        return cast(T, _finish(guard, leave, result))
    guard.succeed(leave)
    return result


def run_to_return(
    guard: Guard,
    leave: Leave,
    func: Callable[..., T],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> T:
    """Run an admitted call, with its call_timeout, and report unless it returned."""
    try:
        if guard.call_timeout is None:
            return func(*args, **kwargs)
        return call_pool().run_with(func, guard.call_timeout, args, kwargs)
    except CallExpired as expired:
        raise _expire(guard, leave, expired) from None
    except BaseException as error:
        guard.fail(leave, error)
        raise


def _expire(guard: Guard, leave: Leave, expired: CallExpired) -> TimeoutError:
    """Report that a call took too long, and return the error for its caller."""
    # Always a failure, whatever exception_types says; and a plain TimeoutError from here
    # on, so that a breaker around this one judges it by its own.
    error = TimeoutError(*expired.args)
    guard.expire(leave, error)
    return error


def _finish(guard: Guard, leave: Leave, unfinished: Any) -> Any:
    """Go on guarding what a plain function returned before its work was done."""
    kind = kind_of_unfinished(unfinished)
    if kind is CallKind.COROUTINE:
        return run_admitted_task(guard, leave, lambda: unfinished, (), {})
    guard_rest = guard_stream if kind is CallKind.GENERATOR else guard_async_stream
    return guard_rest(guard, lambda: unfinished, leave)()
