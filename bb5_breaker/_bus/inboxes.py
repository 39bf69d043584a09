"""The way of events from the dispatcher's thread into one event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from bb5_breaker._bus.complaints import Complaints
from bb5_breaker._bus.losses import Losses
from bb5_breaker._bus.states import Counters
from bb5_breaker.events import Event

__all__ = ["AsyncReceiver", "Gone", "Inbox"]

_log = logging.getLogger("bb5_breaker")
# For so long the dispatcher, and with it all other handlers, waits for a loop that is behind.
_PATIENCE: Final = 1.0


class Gone(Exception):
    """Nobody is there any more to take events."""


class Inbox:
    """A bounded queue into one event loop.

    When the loop is behind, the dispatcher waits for it for a while; then the oldest events are
    dropped, and an event that says so takes their place. A loop that once let the dispatcher wait
    in vain is not waited for again until it has caught up. Thread-safe.

    Args:
        loop: The loop.
        size: Events that may wait.
        counters: Where dropped events are counted.
        on_arrival: Called in the loop when there is something to take.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        size: int,
        counters: Counters,
        on_arrival: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._size = size
        self._counters = counters
        self._on_arrival = on_arrival
        self._lock = threading.Condition()
        self._queue: deque[tuple[str, Event]] = deque()
        self._losses = Losses()
        self._is_called = False
        self._is_stalled = False
        self.is_abandoned = False

    def put(self, topic: str, event: Event) -> None:
        """Queue an event.

        Raises:
            Gone: The loop is closed, or the one who took them is gone.
        """
        if self.is_abandoned:
            raise Gone
        with self._lock:
            if len(self._queue) >= self._size:
                self._make_room()
            self._queue.append((topic, event))
            is_called, self._is_called = self._is_called, True
        if is_called:
            return
        try:
            self._loop.call_soon_threadsafe(self._arrive)
        except RuntimeError:
            self.abandon()
            raise Gone from None

    def take(self) -> tuple[str, Event] | None:
        """Return the next event and its topic; None when there is none. For the loop's thread."""
        if self.is_abandoned:
            return None
        with self._lock:
            for _, channel, event in self._losses.take():
                self._queue.appendleft((channel.decode(errors="replace"), event))
            if not self._queue:
                self._is_stalled = False
                return None
            item = self._queue.popleft()
            self._lock.notify()
            return item

    def abandon(self) -> None:
        """Nobody takes anything any more. Takes no lock: the collector may call this anywhere."""
        self.is_abandoned = True

    def _make_room(self) -> None:
        if not self._is_stalled and not self._is_own_thread():
            self._lock.wait_for(lambda: len(self._queue) < self._size, timeout=_PATIENCE)
        if len(self._queue) < self._size:
            return
        self._is_stalled = True
        topic, event = self._queue.popleft()
        self._counters.dropped += 1
        self._losses.note(None, topic.encode(), event)

    def _is_own_thread(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _arrive(self) -> None:
        with self._lock:
            self._is_called = False
        self._on_arrival()


class AsyncReceiver:
    """Awaits a coroutine handler in the loop in which it was subscribed, one event at a time.

    Args:
        handler: The handler.
        loop: The loop.
        size: Events that may wait for it.
        counters: Where errors are counted.
    """

    def __init__(
        self,
        handler: Callable[[str, Event], Awaitable[object]],
        loop: asyncio.AbstractEventLoop,
        size: int,
        counters: Counters,
    ) -> None:
        self._handler = handler
        self._loop = loop
        self._counters = counters
        self._inbox = Inbox(loop, size, counters, self._begin)
        self._errors = Complaints()
        self._task: asyncio.Task[None] | None = None

    def __call__(self, topic: str, event: Event) -> None:
        """Hand an event over; from the dispatcher's thread.

        Raises:
            Gone: The loop is closed.
        """
        try:
            self._inbox.put(topic, event)
        except Gone:
            _log.warning(
                "the event loop of handler %r is closed; it is told no more. Unsubscribe it before "
                "its loop ends",
                self._handler,
            )
            raise

    def close(self) -> None:
        """Tell it no more; what it does now goes on to its end."""
        self._inbox.abandon()

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._work_off())

    async def _work_off(self) -> None:
        while (item := self._inbox.take()) is not None:
            topic, event = item
            try:
                await self._handler(topic, event)
            except Exception as error:
                self._counters.handler_errors += 1
                if self._errors.claim((type(error),)):
                    _log.exception(
                        "handler %r of topic %r raised; it goes on (the same from it is logged "
                        "once a minute)",
                        self._handler,
                        topic,
                    )
