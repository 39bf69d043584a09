"""Reused threads, each with one seat; who holds the seat may hand calls to the thread.

An interrupt may strike a caller anywhere, so nothing is put right by code of the caller that
must still run. However a seat is lost, by a time-out, by an interrupt before it was even stored
in a variable, with a frame: its thread hears of it and takes a new seat, with locks that nobody
else knows. So a frame that a traceback may keep must not keep a seat.
"""

from __future__ import annotations

import threading
import time
from _thread import LockType
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Any
from weakref import ref

__all__ = ["CallThreads", "Seat"]


class Worker:
    """A thread as the others see it.

    ``ends`` is of a call whose caller gave up. Thread and caller both append to it, and the
    first entry holds. It is empty when there is no such call.
    """

    __slots__ = ("begun", "ends", "inbox", "seat")

    def __init__(self) -> None:
        self.begun = False
        self.ends: list[Any] = []
        # Calls, as arguments of _answer; and references to lost seats.
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.seat: ref[Seat] | None = None


class Seat:
    """The right to hand calls to a thread, one after the other.

    A call is put as the arguments of ``_answer``; ``done`` can be acquired once after each.
    """

    __slots__ = ("__weakref__", "done", "put", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.put = worker.inbox.put
        self.done = threading.Lock()
        self.done.acquire()
        # No interrupt comes between the loss and the news of it: both happen in C.
        worker.seat = ref(self, worker.inbox.put)


# Where a caller waits for a seat; None says that there may be a new thread.
_Place = SimpleQueue[Seat | None]


class CallThreads:
    """So many daemon threads at the most; of one process.

    Attributes:
        idle: Seats of threads without a call, the last used last. Anybody may pop one, and
            then append it and call give_out() if there is anybody waiting.
        waiting: Where callers wait for seats, the longest first.
        workers: All threads.

    Args:
        most: Threads at the most.
        rest: Seconds without a call after which a thread ends.
    """

    def __init__(self, most: int, rest: float) -> None:
        self.idle: deque[Seat] = deque()
        self.waiting: deque[_Place] = deque()
        self.workers: set[Worker] = set()
        self._most = most
        self._rest = rest
        # Not taken while threads are plenty. A signal handler may make calls as well.
        self._queueing = threading.RLock()

    def forget(self) -> None:
        """Let seats go unheard, in a child of a fork, where the threads are not."""
        for worker in self.workers:
            worker.seat = None

    def wait_for_seat(self, deadline: float) -> Seat:
        """Queue for a seat: of a thread that comes free, or of a new one.

        Args:
            deadline: By the monotonic clock.

        Raises:
            TimeoutError: The time is up.
        """
        place: _Place = SimpleQueue()
        try:
            self.waiting.append(place)
            return self._await_seat(place, deadline)
        except Empty:
            raise TimeoutError from None
        finally:
            self._leave(place)

    def _await_seat(self, place: _Place, deadline: float) -> Seat:
        while True:
            self.give_out()
            self._launch(place)
            seat = place.get(timeout=max(0.0, deadline - time.monotonic()))
            if seat is not None:
                return seat

    def give_out(self) -> None:
        """Give idle threads to those who wait, the longest first."""
        # One that an interrupt leaves in the queue may get a second seat, and will lose it.
        with self._queueing, suppress(IndexError, ValueError):
            while True:
                place = self.waiting[0]
                place.put(self.idle.pop())
                self.waiting.remove(place)

    def _leave(self, place: _Place) -> None:
        with self._queueing:
            with suppress(ValueError):
                self.waiting.remove(place)
            # A seat that came too late; a traceback may keep the place.
            with suppress(Empty):
                while True:
                    place.get_nowait()

    def _launch(self, place: _Place) -> None:
        """Begin a thread and give its seat, unless there is a seat or there are enough."""
        worker = Worker()
        try:
            if self._enlist(worker, place):
                threading.Thread(
                    target=self._serve, args=(worker,), name="bb5-breaker-call", daemon=True
                ).start()
        except BaseException:
            self._withdraw(worker)
            raise

    def _enlist(self, worker: Worker, place: _Place) -> bool:
        with self._queueing:
            if not place.empty() or len(self.workers) >= self._most:
                return False
            self.workers.add(worker)
            # Before the thread begins, for that may be all that comes of an interrupted start.
            place.put(Seat(worker))
            self.waiting.remove(place)
            return True

    def _withdraw(self, worker: Worker) -> None:
        """Take back a thread that may have begun all the same, when start() was interrupted."""
        with self._queueing:
            if not worker.begun:
                self._dismiss(worker)

    def _begin(self, worker: Worker) -> bool:
        with self._queueing:
            worker.begun = worker in self.workers
            return worker.begun

    def _dismiss(self, worker: Worker) -> None:
        with self._queueing:
            self.workers.discard(worker)
            for place in tuple(self.waiting):
                place.put(None)

    def _serve(self, worker: Worker) -> None:
        if not self._begin(worker):
            return
        try:
            while True:
                try:
                    item = worker.inbox.get(True, self._rest)
                except Empty:
                    if self._may_end(worker):
                        return
                    continue
                if type(item) is tuple:
                    done = _answer(*item)
                    # Before the caller goes on: nothing of its call is kept here.
                    del item
                    done.release()
                else:
                    worker.ends.clear()
                    self.idle.append(Seat(worker))
                    self.give_out()
        finally:
            self._dismiss(worker)

    def _may_end(self, worker: Worker) -> bool:
        if worker not in self.workers or worker.seat is None:
            # The child of a fork in a call.
            return True
        seat = worker.seat()
        # None: lost in this moment, which the next item says.
        if seat is None:
            return False
        try:
            self.idle.remove(seat)
        except ValueError:
            # A caller took it in this moment; a call or the loss will come.
            return False
        return True


def _answer(
    context: Context,
    work: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    ends: list[Any],
    done: LockType,
) -> LockType:
    """Make a call, note whether it failed and with what, and return what to release."""
    try:
        # Merging no keyword arguments would cost as much as all the rest.
        result = context.run(work, *args, **kwargs) if kwargs else context.run(work, *args)
        ends.append((False, result))
    except BaseException as error:
        ends.append((True, error))
    return done
