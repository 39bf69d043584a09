"""What became of a call, told instead of raised."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from types import AsyncGeneratorType
from typing import Any

from bb5_breaker._shell.callables import UNFINISHED, CallKind, kind_of
from bb5_breaker._shell.guard import Guard, Leave
from bb5_breaker._shell.running import run_to_return
from bb5_breaker._shell.tasks import admit_task, run_admitted_task
from bb5_breaker.exceptions import CircuitBreakerOpenError
from bb5_breaker.result import CallResult

__all__ = ["tell_result"]


def tell_result(
    guard: Guard, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Return the :class:`CallResult` of a plain function, a coroutine of it of a coroutine's.

    Raises:
        TypeError: It can not be called, makes a generator, or turns out to be a plain function
            that makes a coroutine.
    """
    kind = kind_of(func)
    if kind is CallKind.PLAIN:
        return _tell(guard, func, args, kwargs)
    if kind is CallKind.COROUTINE:
        return _tell_task(guard, func, args, kwargs)
    raise _no_result(func)


def _tell(
    guard: Guard, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> CallResult:
    try:
        leave = guard.admit()
    except CircuitBreakerOpenError as rejection:
        return _rejected(rejection)
    begun = perf_counter()
    try:
        value = run_to_return(guard, leave, func, args, kwargs)
    except Exception as error:
        return _ended(leave, begun, None, error)
    if type(value) in UNFINISHED:
        guard.release(leave)
        if not isinstance(value, AsyncGeneratorType):
            value.close()
        raise _no_result(func)
    guard.succeed(leave)
    return _ended(leave, begun, value, None)


async def _tell_task(
    guard: Guard, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> CallResult:
    try:
        leave = await admit_task(guard)
    except CircuitBreakerOpenError as rejection:
        return _rejected(rejection)
    begun = perf_counter()
    try:
        value = await run_admitted_task(guard, leave, func, args, kwargs)
    except Exception as error:
        return _ended(leave, begun, None, error)
    return _ended(leave, begun, value, None)


def _no_result(func: Callable[..., Any]) -> TypeError:
    return TypeError(
        f"{getattr(func, '__qualname__', func)!r} makes a generator or coroutine, whose end is not "
        "the one result of a call; give the coroutine function itself, or use call() or decorate()"
    )


def _rejected(rejection: CircuitBreakerOpenError) -> CallResult:
    return CallResult(False, exception=rejection, was_rejected=True, state_at_call=rejection.state)


def _ended(leave: Leave, begun: float, value: Any, error: Exception | None) -> CallResult:
    return CallResult(
        error is None,
        exception=error,
        duration_seconds=perf_counter() - begun,
        state_at_call=leave.state,
        value=value,
    )
