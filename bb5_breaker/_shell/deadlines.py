"""Calls that may take only so long, on any thread.

A blocking call can not be stopped from outside, so it runs on a thread of a pool while the
caller waits. When the time is up the caller goes on and the call is abandoned: its thread
returns to the pool whenever the call ends. Threads are daemons, so none holds up the exit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final, TypeVar

from bb5_breaker._store.forks import renew_in_children

__all__ = ["MAX_THREADS", "CallExpired", "CallPool", "call_pool"]

T = TypeVar("T")
MAX_THREADS: Final = 1024
_IDLE_SECONDS: Final = 30.0


class CallExpired(TimeoutError):
    """The pool gave up waiting: told apart from a TimeoutError that the call itself raised."""


class _Job:
    """One call on its way to a thread and its result on the way back."""

    __slots__ = ("claim", "done", "error", "result", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        # Whoever takes the claim first decides: the thread that finished, or
        # the caller whose time is up.
        self.claim = threading.Lock()
        self.done = threading.Lock()
        self.done.acquire()


class _Worker:
    """A thread and the place where its next job is put."""

    __slots__ = ("job", "wake")

    def __init__(self) -> None:
        self.job: _Job | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class CallPool:
    """Reused daemon threads for calls with a deadline.

    Args:
        most: Threads at the most, running, abandoned and idle together.
    """

    def __init__(self, most: int = MAX_THREADS) -> None:
        self._most = most
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without threads; those of a parent are not in a child."""
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[_Worker] = []
        self._threads = 0
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """Calls still running although their callers gave up."""
        return self._abandoned

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
        context = copy_context()
        job = _Job(lambda: context.run(work, *args, **kwargs))
        deadline = time.monotonic() + timeout
        self._hand_over(job, deadline, timeout)
        return self._await(job, deadline, timeout)  # type: ignore[no-any-return]

    def _hand_over(self, job: _Job, deadline: float, timeout: float) -> None:
        with self._changed:
            while not self._idle and self._threads >= self._most:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise CallExpired(
                        f"no thread came free in {timeout:g} s: {self._threads} calls are running, "
                        f"{self._abandoned} of them abandoned after their own timeouts"
                    )
            worker = self._idle.pop() if self._idle else None
            if worker is None:
                self._threads += 1
        if worker is None:
            worker = _Worker()
            worker.job = job
            worker.wake.release()
            self._launch(worker)
            return
        worker.job = job
        worker.wake.release()

    def _launch(self, worker: _Worker) -> None:
        thread = threading.Thread(
            target=self._serve, args=(worker,), name="bb5-breaker-call", daemon=True
        )
        try:
            thread.start()
        except BaseException:
            with self._changed:
                self._threads -= 1
            raise

    def _await(self, job: _Job, deadline: float, timeout: float) -> Any:
        try:
            finished = job.done.acquire(timeout=max(0.0, deadline - time.monotonic()))
        except BaseException:
            # An interrupt of the caller: nobody waits for the call any more.
            if job.claim.acquire(blocking=False):
                self._count_abandoned(1)
            raise
        if not finished:
            if job.claim.acquire(blocking=False):
                self._count_abandoned(1)
                raise CallExpired(f"the call took longer than its call_timeout of {timeout:g} s")
            # It ended in this very moment; the result is a breath away.
            job.done.acquire()
        error, job.error = job.error, None
        if error is None:
            return job.result
        try:
            raise error
        finally:
            # The error's traceback refers to this frame; do not tie a knot.
            del error

    def _serve(self, worker: _Worker) -> None:
        while True:
            if not worker.wake.acquire(timeout=_IDLE_SECONDS):
                if self._retire(worker):
                    return
                # A caller took this thread in the same moment; its job is on the way.
                worker.wake.acquire()
            job, worker.job = worker.job, None
            assert job is not None
            try:
                job.result = job.work()
            except BaseException as error:
                job.error = error
            given_up = not job.claim.acquire(blocking=False)
            # Idle before the caller wakes, so that its next call finds this thread.
            with self._changed:
                if given_up:
                    self._abandoned -= 1
                self._idle.append(worker)
                self._changed.notify()
            job.done.release()
            del job

    def _retire(self, worker: _Worker) -> bool:
        with self._changed:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            self._threads -= 1
            return True

    def _count_abandoned(self, number: int) -> None:
        with self._changed:
            self._abandoned += number


_POOL: Final = CallPool()


def call_pool() -> CallPool:
    """Return the pool of this process."""
    return _POOL
