"""Calls that may take only so long, on any thread.

A blocking call can not be stopped from outside, so it runs on a thread of a pool while the
caller waits. When the time is up the caller goes on and the call is abandoned: its thread
returns to the pool whenever the call ends. Threads are daemons, so none holds up the exit.
"""

from __future__ import annotations

from _thread import LockType
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic
from typing import Any, Final, TypeVar

from bb5_breaker._shell.call_threads import CallThreads, Seat
from bb5_breaker._store.forks import renew_in_children

__all__ = ["MAX_THREADS", "CallExpired", "CallPool", "call_pool"]

T = TypeVar("T")
MAX_THREADS: Final = 1024
_IDLE_SECONDS: Final = 30.0
_GIVEN_UP: Final = object()


class CallExpired(TimeoutError):
    """The pool gave up waiting: told apart from a TimeoutError that the call itself raised."""


class CallPool:
    """Reused daemon threads for calls with a deadline.

    Args:
        most: Threads at the most, running, abandoned and idle together.
        rest: Seconds without a call after which a thread ends.
    """

    def __init__(self, most: int = MAX_THREADS, rest: float = _IDLE_SECONDS) -> None:
        self._most = most
        self._rest = rest
        self._threads = CallThreads(most, rest)
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without threads; those of a parent are not in a child."""
        self._threads.forget()
        self._threads = CallThreads(self._most, self._rest)

    @property
    def abandoned(self) -> int:
        """Calls still running although their callers gave up."""
        workers = tuple(self._threads.workers)
        return sum(worker.ends[:1] == [_GIVEN_UP] for worker in workers)

    def run(self, work: Callable[..., T], timeout: float, /, *args: Any, **kwargs: Any) -> T:
        """Run a call and wait for it at most ``timeout`` seconds.

        Args:
            work: The call; it sees the caller's context variables.
            timeout: Seconds, above 0.
            args: Positional arguments of the call.
            kwargs: Keyword arguments of the call.

        Returns:
            What the call returned.

        Raises:
            CallExpired: The time is up, or no thread came free in it.
            BaseException: What the call raised, unchanged.
        """
        return self.run_with(work, timeout, args, kwargs)

    def run_with(
        self,
        work: Callable[..., T],
        timeout: float,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> T:
        """Do as :meth:`run` with arguments that are packed already, which costs less."""
        # No traceback of a frame like this one may keep the seat, nor the error itself.
        threads, left = self._threads, timeout
        ends: list[Any] = []
        try:
            seat = threads.idle.pop()
        except IndexError:
            seat = None
        if seat is None:
            seat, left = self._wait_for_seat(timeout)
        try:
            seat.put((copy_context(), work, args, kwargs, ends, seat.done))
            if not seat.done.acquire(True, left):
                _give_up(ends, seat.done, timeout)
            failed = ends[0][0]
        except BaseException:
            seat.worker.ends = ends
            ends.append(_GIVEN_UP)
            del seat
            raise
        try:
            threads.idle.append(seat)
            # In this order: who waits says so first and looks for a seat then.
            if threads.waiting:
                threads.give_out()
        except BaseException:
            del seat
            threads.give_out()
            raise
        del seat
        if failed:
            raise ends.pop()[1]
        return ends.pop()[1]  # type: ignore[no-any-return]

    def _wait_for_seat(self, timeout: float) -> tuple[Seat, float]:
        """Return a seat and the time that is left then."""
        deadline = monotonic() + timeout
        try:
            return self._threads.wait_for_seat(deadline), max(0.0, deadline - monotonic())
        except TimeoutError:
            raise CallExpired(
                f"no thread came free in {timeout:g} s: {len(self._threads.workers)} calls are "
                f"running, {self.abandoned} of them abandoned after their own timeouts"
            ) from None


def _give_up(ends: list[Any], done: LockType, timeout: float) -> None:
    """Have the call count as abandoned, unless it ended before.

    Raises:
        CallExpired: It did not.
    """
    ends.append(_GIVEN_UP)
    if ends[0] is _GIVEN_UP:
        raise CallExpired(f"the call took longer than its call_timeout of {timeout:g} s")
    # It ended in this very moment; its thread is a breath away from the release.
    done.acquire()
    ends.pop()


_POOL: Final = CallPool()


def call_pool() -> CallPool:
    """Return the pool of this process."""
    return _POOL
