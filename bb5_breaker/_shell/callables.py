"""What kinds of functions there are, and what they return before their work is done."""

from __future__ import annotations

import functools
from enum import Enum, auto
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_ITERABLE_COROUTINE
from types import AsyncGeneratorType, CodeType, CoroutineType, FunctionType, GeneratorType
from typing import Any, Final

__all__ = ["UNFINISHED", "CallKind", "kind_of", "kind_of_unfinished"]

# Of a generator function that types.coroutine() made awaitable, the last is set as well.
_AWAITABLE: Final = CO_COROUTINE | CO_ITERABLE_COROUTINE
_LAZY: Final = _AWAITABLE | CO_GENERATOR | CO_ASYNC_GENERATOR
# None of them can be derived from, so looking at the type is enough.
UNFINISHED: Final = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


class CallKind(Enum):
    """How a function does its work."""

    PLAIN = auto()
    COROUTINE = auto()
    GENERATOR = auto()
    ASYNC_GENERATOR = auto()


def kind_of(func: Any) -> CallKind:
    """Return how a function does its work, as far as it can be told without calling it.

    Raises:
        TypeError: It can not be called.
    """
    if type(func) is FunctionType and not func.__code__.co_flags & _LAZY:
        return CallKind.PLAIN
    if not callable(func):
        raise TypeError(
            f"expected a callable, got {type(func).__name__} {func!r}; "
            "pass the function and its arguments, not its result"
        )
    while isinstance(func, functools.partial):
        func = func.func
    # An object is called by what its class has; of a class that is how instances are made.
    called_by = getattr(type(func), "__call__", None)  # noqa: B004
    return _kind_by(_flags_of(func) or _flags_of(called_by))


def kind_of_unfinished(result: Any) -> CallKind:
    """Return how the rest of the work is done that a function returned unfinished."""
    if isinstance(result, GeneratorType):
        return _kind_by(result.gi_code.co_flags)
    return CallKind.COROUTINE if isinstance(result, CoroutineType) else CallKind.ASYNC_GENERATOR


def _flags_of(func: Any) -> int:
    """Return the flags of the code behind a function or bound method; 0 for anything else."""
    code = getattr(getattr(func, "__func__", func), "__code__", None)
    # Mocks and compiled functions only look like code.
    return code.co_flags & _LAZY if isinstance(code, CodeType) else 0


def _kind_by(flags: int) -> CallKind:
    if flags & _AWAITABLE:
        return CallKind.COROUTINE
    if flags & CO_ASYNC_GENERATOR:
        return CallKind.ASYNC_GENERATOR
    return CallKind.GENERATOR if flags & CO_GENERATOR else CallKind.PLAIN
