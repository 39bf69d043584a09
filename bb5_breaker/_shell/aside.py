"""Threads on which an event loop has the store asked, so that nothing blocks the loop.

One set of connections serves threads and loops alike; a connection belongs to no loop, and a
task that is cancelled leaves none half read, since its question goes on to the end.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, TypeVar

from bb5_breaker._store.forks import renew_in_children
from bb5_breaker._store.server import MAX_CONNECTIONS

__all__ = ["ask_aside", "start_aside"]

T = TypeVar("T")


class _Aside:
    """The threads of this process, as many as there are connections; none before the first use."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without threads."""
        self.threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="bb5-breaker-aside")


_ASIDE: Final = _Aside()


async def ask_aside(work: Callable[[], T]) -> T:
    """Run work on a thread and wait for it; it sees the caller's context variables.

    Cancelled, or left by a loop that ends, the work goes on to its end all the same.
    """
    loop = asyncio.get_running_loop()
    answer: Future[T] = loop.create_future()
    # The traceback of an error refers to all these frames, and so to what they still hold: an
    # answer that stayed there would tie a knot.
    held = [answer]
    try:
        _ASIDE.threads.submit(copy_context().run, _answer, work, loop, held)
    except RuntimeError:
        # The process is ending and starts no more threads; what is left to do is done here.
        _answer(work, loop, held)
    try:
        return await answer
    finally:
        del answer


def start_aside(work: Callable[..., Any], *args: Any) -> None:
    """Run work on a thread without waiting for it."""
    # Refused only when the process ends; what it would report ends by itself then.
    with suppress(RuntimeError):
        _ASIDE.threads.submit(work, *args)


def _answer(work: Callable[[], T], loop: AbstractEventLoop, held: list[Future[T]]) -> None:
    try:
        answer = held.pop()
    except IndexError:
        # Refused, and begun by another thread all the same.
        return
    # A loop that has ended takes no answer, and nobody is left who waits for it.
    try:
        result = work()
    except BaseException as error:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver_error, answer, error)
    else:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, answer, result)
    finally:
        del answer


def _deliver(answer: Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _deliver_error(answer: Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
        # Looked at, so that asyncio does not complain when nobody waits any more.
        answer.exception()
