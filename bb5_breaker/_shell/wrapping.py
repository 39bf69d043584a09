"""Guarded functions of the same kind as the functions they guard."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from bb5_breaker._shell.callables import CallKind, kind_of
from bb5_breaker._shell.guard import Guard
from bb5_breaker._shell.running import guard_plain
from bb5_breaker._shell.streams import guard_async_stream, guard_stream
from bb5_breaker._shell.tasks import guard_task

__all__ = ["guard_function", "wrap"]

P = ParamSpec("P")
T = TypeVar("T")

_GUARDED_BY: Final[dict[CallKind, Callable[[Guard, Any], Callable[..., Any]]]] = {
    CallKind.PLAIN: guard_plain,
    CallKind.COROUTINE: guard_task,
    CallKind.GENERATOR: guard_stream,
    CallKind.ASYNC_GENERATOR: guard_async_stream,
}


def guard_function(guard: Guard, func: Callable[P, T]) -> Callable[P, T]:
    """Return a function of the same kind that runs ``func`` under the guard.

    Raises:
        TypeError: It can not be called.
    """
    return _GUARDED_BY[kind_of(func)](guard, func)


def wrap(guard: Guard, func: Callable[P, T]) -> Callable[P, T]:
    """Return a function that runs ``func`` under the guard and looks like it.

    Raises:
        TypeError: It can not be called.
    """
    return functools.wraps(func)(guard_function(guard, func))
