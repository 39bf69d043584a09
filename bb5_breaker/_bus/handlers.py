"""What users give to be called."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from bb5_breaker.events import Event

__all__ = ["AsyncHandler", "Handler", "check_handler", "is_coroutine_handler", "key_of"]

Handler = Callable[[str, Event], object]
AsyncHandler = Callable[[str, Event], Awaitable[Any]]


def check_handler(handler: object) -> None:
    """Refuse what can not be called as ``handler(topic, event)``.

    Raises:
        TypeError: It is not callable, or takes other arguments.
    """
    if not callable(handler):
        raise TypeError(f"handler must be callable, got {type(handler).__name__}")
    try:
        inspect.signature(handler).bind("topic", "event")
    except TypeError as error:
        raise TypeError(f"handler must take handler(topic, event): {error}") from None
    except ValueError:
        # Some built-in callables have no signature to look at.
        return


def is_coroutine_handler(handler: object) -> bool:
    """Return True for a handler that gives a coroutine to await."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - the method is wanted, not an answer
    )


def key_of(handler: object) -> Hashable:
    """Return the identity of a handler."""
    try:
        hash(handler)
    except TypeError:
        return id(handler)
    return handler
