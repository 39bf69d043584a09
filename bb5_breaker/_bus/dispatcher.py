"""The thread that runs handlers, so that a slow one does not stop the feed."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Final

from bb5_breaker._bus.complaints import Complaints
from bb5_breaker._bus.publications import Delivery
from bb5_breaker._bus.registry import Registry, Subscription
from bb5_breaker._bus.states import Counters

__all__ = ["Dispatcher"]

_log = logging.getLogger("bb5_breaker")
_COMPLAINT_INTERVAL: Final = 60.0


class Dispatcher:
    """Gives events to handlers, in the order in which they were published.

    No lock is held while a handler runs. When handlers are slower than events come, the oldest
    events are dropped, because a later state of a circuit replaces an earlier one.

    Args:
        registry: Who listens.
        queue_size: Deliveries that may wait.
        counters: Where deliveries are counted.
    """

    def __init__(self, registry: Registry, queue_size: int, counters: Counters) -> None:
        self._registry = registry
        self._counters = counters
        self._queue: deque[Delivery] = deque()
        self._queue_size = queue_size
        self._ready = threading.Condition()
        self._stopped = False
        self._overflows = Complaints(_COMPLAINT_INTERVAL)
        self._errors = Complaints(_COMPLAINT_INTERVAL)
        self._thread = threading.Thread(target=self._run, name="bb5-bus-dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, delivery: Delivery) -> None:
        """Queue a delivery; never blocks. For the feed's thread."""
        with self._ready:
            self._queue.append(delivery)
            is_full = len(self._queue) > self._queue_size
            if is_full:
                self._queue.popleft()
                self._counters.dropped += 1
            self._ready.notify()
        if is_full and self._overflows.claim("full"):
            _log.warning(
                "the event bus drops events: %d wait for handlers that are too slow. Hand slow "
                "work to a thread of its own, or raise EventBusConfig.queue_size",
                self._queue_size,
            )

    def stop(self) -> None:
        """Let the thread end; what is queued is given up."""
        with self._ready:
            self._stopped = True
            self._queue.clear()
            self._ready.notify()

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end; from inside a handler there is no waiting.

        Returns:
            False when a handler still runs.
        """
        if self.is_current:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """True inside a handler of this dispatcher."""
        return threading.current_thread() is self._thread

    def disown(self) -> None:
        """In the child of a fork: take none of the parent's events.

        The child may have been forked inside a handler; its copy of this thread ends then with
        that handler.
        """
        self._ready = threading.Condition()
        self.stop()

    def _run(self) -> None:
        while (delivery := self._next()) is not None:
            self._deliver(delivery)

    def _next(self) -> Delivery | None:
        with self._ready:
            while not self._queue and not self._stopped:
                self._ready.wait()
            return None if self._stopped else self._queue.popleft()

    def _deliver(self, delivery: Delivery) -> None:
        for subscription in self._registry.listeners(delivery.via):
            if self._stopped:
                return
            if self._is_wanted(subscription, delivery):
                delivery.served.add(subscription.key)
                self._call(subscription, delivery)

    def _is_wanted(self, subscription: Subscription, delivery: Delivery) -> bool:
        return (
            subscription.key not in delivery.served
            and subscription.interest.accepts(delivery.channel, delivery.event)
            # A handler that ran before this one may have taken it out.
            and self._registry.holds(subscription)
        )

    def _call(self, subscription: Subscription, delivery: Delivery) -> None:
        topic = delivery.channel.decode(errors="replace")
        self._counters.delivered += 1
        try:
            subscription.handler(topic, delivery.event)
        except BaseException as error:  # an exit or interrupt would end the thread for all
            self._counters.handler_errors += 1
            if self._errors.claim((subscription.key, type(error))):
                _log.exception(
                    "handler %r of topic %r raised; other handlers go on (the same from it is "
                    "logged once a minute)",
                    subscription.handler,
                    topic,
                )
