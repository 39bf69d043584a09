"""Waiting until a circuit is closed: by what is pushed, not by asking again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from bb5_breaker._core.commands import Look
from bb5_breaker._core.policy import Circuit
from bb5_breaker._shell.aside import ask_aside
from bb5_breaker._shell.link import Link
from bb5_breaker.checks import check_seconds
from bb5_breaker.state import CircuitState

__all__ = ["check_timeout", "wait_for_close", "wait_for_close_async"]

_LONGEST: Final = 366 * 86_400.0


def check_timeout(timeout: float | None) -> float | None:
    """Return a timeout in seconds; None for none.

    Raises:
        ValueError: It is no number of seconds up to a year.
    """
    return None if timeout is None else check_seconds("timeout", timeout, 0.0, _LONGEST)


class _Watch:
    """One who waits, and what he knows. Used by one thread or task at a time.

    The view is his as well: while he waits the process listens, whether or not a call ever did.
    """

    def __init__(self, link: Link, circuit: Circuit, ear: Callable[[], object]) -> None:
        self._link = link
        self._circuit = circuit
        self._ear = ear
        link.board.news.tell(circuit.service, ear)
        self._view = link.view_of(circuit)
        # By what, and at what state, the store was last looked at; and when to look again.
        self._lease: object = None
        self._judged: object = None
        self._look_at = 0.0

    def end(self) -> None:
        """Leave nothing behind."""
        self._link.board.news.cancel(self._circuit.service, self._ear)

    def is_closed(self) -> bool:
        """Return True when the circuit is closed as far as may be believed without asking."""
        return self._is_believed() and self._shows_closed()

    def must_look(self) -> bool:
        """Return True when the store has to be asked: what is known may not be believed, and
        something happened since it was asked last, or a while has passed."""
        if self._is_believed():
            return False
        view = self._view
        # Closed by what may not be believed yet; of the same state it was asked already.
        news = view.seen is not self._judged and self._shows_closed()
        return view.subscription is not self._lease or news or time.monotonic() >= self._look_at

    def look(self) -> bool:
        """Ask, and return True when the circuit is closed."""
        self._lease, self._judged = self._view.subscription, self._view.seen
        # Nothing stands in for the store: by what stands in, a circuit of which this process
        # knows nothing is closed.
        told = self._link.attempt(Look(self._circuit))
        self._look_at = time.monotonic() + self._link.retry_interval
        # Perhaps nobody did so far; and after an outage nobody does before somebody asks for it.
        self._link.listen()
        return told is not None and told.state is CircuitState.CLOSED

    def pause(self, until: float | None) -> float | None:
        """Return the seconds to wait for news at the most; None for ever."""
        if not self._is_believed():
            until = self._look_at if until is None else min(until, self._look_at)
        return None if until is None else max(0.0, until - time.monotonic())

    def _is_believed(self) -> bool:
        return time.monotonic() < self._view.lease.until and self._view.seen is not None

    def _shows_closed(self) -> bool:
        seen = self._view.seen
        return seen is not None and seen.told.state is CircuitState.CLOSED


def wait_for_close(link: Link, circuit: Circuit, timeout: float | None) -> bool:
    """Block until a circuit is closed; False when the time is up."""
    # A queue made in C: an interrupt leaves nothing locked.
    words: SimpleQueue[None] = SimpleQueue()
    until = None if timeout is None else time.monotonic() + timeout
    watch = _Watch(link, circuit, lambda: words.put(None))
    try:
        while True:
            if watch.is_closed() or (watch.must_look() and watch.look()):
                return True
            if until is not None and time.monotonic() >= until:
                return False
            with suppress(Empty):
                words.get(timeout=watch.pause(until))
    finally:
        watch.end()


async def wait_for_close_async(
    open_link: Callable[[], Link], circuit: Circuit, timeout: float | None
) -> bool:
    """Wait until a circuit is closed, with no thread of its own; False when the time is up."""
    loop, word = asyncio.get_running_loop(), asyncio.Event()
    until = None if timeout is None else time.monotonic() + timeout

    def tell() -> None:
        # A loop that has ended waits for nothing.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(word.set)

    watch = _Watch(await ask_aside(open_link), circuit, tell)
    try:
        while True:
            word.clear()
            if watch.is_closed() or (watch.must_look() and await ask_aside(watch.look)):
                return True
            if until is not None and time.monotonic() >= until:
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(watch.pause(until)):
                    await word.wait()
    finally:
        watch.end()
