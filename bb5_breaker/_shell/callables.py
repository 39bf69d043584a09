"""Which callables can be guarded."""

from __future__ import annotations

import inspect
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any, NoReturn

__all__ = ["check_callable", "is_unfinished", "refuse_unfinished"]

_LAZY_CODE = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_LAZY = (CoroutineType, GeneratorType, AsyncGeneratorType)


def check_callable(func: Any) -> None:
    """Refuse what can not be guarded as one plain call.

    Args:
        func: What is to be called.

    Raises:
        TypeError: Not callable, or a coroutine or generator function: calling it only makes an
            object, and the work that may fail would run later, unguarded.
    """
    if type(func) is FunctionType and not func.__code__.co_flags & _LAZY_CODE:
        return
    if not callable(func):
        raise TypeError(
            f"expected a callable, got {type(func).__name__} {func!r}; "
            "pass the function and its arguments, not its result"
        )
    if inspect.iscoroutinefunction(func):
        kind, advice = "a coroutine function", "run it to its end in a plain function"
    elif inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        kind, advice = "a generator function", "collect its items in a plain function"
    else:
        return
    raise TypeError(
        f"{getattr(func, '__qualname__', func)!r} is {kind}: its body runs only after the call "
        f"returned, so the breaker would count a success too early; {advice}, and guard that"
    )


def is_unfinished(result: Any) -> bool:
    """Return True for a coroutine or generator: work that has not run yet."""
    return isinstance(result, _LAZY)


def refuse_unfinished(result: Any) -> NoReturn:
    """Close a coroutine or generator that a plain function returned, and say so.

    Raises:
        TypeError: Always.
    """
    if isinstance(result, CoroutineType | GeneratorType):
        result.close()
    raise TypeError(
        f"the guarded call returned a {type(result).__name__}, which has not run yet; "
        "guard a plain function that returns the finished result"
    )
