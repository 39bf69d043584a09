"""The thread that runs handlers, so that a slow one does not stop the feed."""

from __future__ import annotations

import logging
import threading
from collections import deque
from queue import SimpleQueue
from typing import Final

from bb5_breaker._bus.complaints import Complaints
from bb5_breaker._bus.inboxes import Gone
from bb5_breaker._bus.losses import Losses
from bb5_breaker._bus.publications import Delivery
from bb5_breaker._bus.registry import Registry, Subscription
from bb5_breaker._bus.replay import Replay, Stretch
from bb5_breaker._bus.states import Counters
from bb5_breaker._store.push.backoff import Backoff
from bb5_breaker.exceptions import StoreError

__all__ = ["Dispatcher"]

_log = logging.getLogger("bb5_breaker")
_LEAST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 5.0


class Dispatcher:
    """Gives events to handlers, in the order in which they were published.

    No lock is held while a handler runs. When handlers are slower than events come, the oldest
    events are dropped, because a later state of a circuit replaces an earlier one, and an event
    that says so is told in their place. What stands in the histories is not queued but read when
    its turn comes, so of that nothing is dropped.

    Args:
        registry: Who listens.
        replay: Reads the histories.
        queue_size: Deliveries that may wait.
        counters: Where deliveries are counted.
    """

    def __init__(
        self, registry: Registry, replay: Replay, queue_size: int, counters: Counters
    ) -> None:
        self._registry = registry
        self._replay = replay
        self._counters = counters
        self._queue: deque[Delivery | Stretch] = deque()
        self._queue_size = queue_size
        self._losses = Losses()
        self._lock = threading.Lock()
        # Made in C: whoever waits for it is awake sooner than with a Condition.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._stopping = threading.Event()
        self._overflows = Complaints()
        self._errors = Complaints()
        self._thread = threading.Thread(target=self._run, name="bb5-bus-dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, item: Delivery | Stretch) -> None:
        """Queue something to tell; never blocks. For the feed's thread."""
        with self._lock:
            self._queue.append(item)
            is_full = len(self._queue) > self._queue_size and self._drop_oldest()
        self._ring()
        if is_full and self._overflows.claim("full"):
            _log.warning(
                "the event bus drops events: %d wait for handlers that are too slow. Hand slow "
                "work to a thread of its own, or raise EventBusConfig.queue_size",
                self._queue_size,
            )

    def stop(self) -> None:
        """Let the thread end; what is queued is given up."""
        self._stopping.set()
        with self._lock:
            self._queue.clear()
        self._ring()

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
        self._lock, self._bell = threading.Lock(), SimpleQueue()
        self._stopping = threading.Event()
        self.stop()

    def _ring(self) -> None:
        if self._bell.empty():
            self._bell.put(None)

    def _drop_oldest(self) -> bool:
        """Drop the delivery that waits for longest; False when only histories wait."""
        for index, item in enumerate(self._queue):
            if isinstance(item, Delivery):
                del self._queue[index]
                self._counters.dropped += 1
                self._losses.note(item.via, item.channel, item.event)
                return True
        return False

    def _run(self) -> None:
        while (item := self._next()) is not None:
            if isinstance(item, Stretch):
                self._tell_stretch(item)
            else:
                self._deliver(item)

    def _next(self) -> Delivery | Stretch | None:
        while not self._stopping.is_set():
            with self._lock:
                if self._losses:
                    self._put_losses_first()
                if self._queue:
                    return self._queue.popleft()
            self._bell.get()
        return None

    def _put_losses_first(self) -> None:
        # What was dropped is older than all that waits.
        for vias, channel, event in self._losses.take():
            served: set[object] = set()
            self._queue.extendleft(Delivery(via, channel, event, served) for via in vias)

    def _tell_stretch(self, stretch: Stretch) -> None:
        backoff = Backoff(_LEAST_WAIT, _LONGEST_WAIT)
        while not self._tell_more(stretch):
            if self._stopping.wait(backoff.next_delay()):
                return
        only = stretch.subscription
        if only is not None and only.backlog is not None:
            # From here on it hears what happens, as everything up to here has been told.
            only.backlog.is_told = True

    def _tell_more(self, stretch: Stretch) -> bool:
        """Tell what is left of a stretch; False when it has to be read on later."""
        try:
            for delivery in self._replay.read(stretch):
                if self._stopping.is_set():
                    return False
                self._tell_one_or_all(stretch.subscription, delivery)
        except StoreError as error:
            if self._errors.claim("history"):
                _log.warning("%s. The event bus reads on as soon as it can", error.message)
            return False
        return True

    def _tell_one_or_all(self, only: Subscription | None, delivery: Delivery) -> None:
        if only is None:
            self._deliver(delivery)
        elif self._registry.holds(only):
            self._call(only, delivery)

    def _deliver(self, delivery: Delivery) -> None:
        via = delivery.via
        listeners = (
            self._registry.matching(delivery.channel)
            if via is None
            else self._registry.listeners(via)
        )
        for subscription in listeners:
            if self._stopping.is_set():
                return
            if self._is_wanted(subscription, delivery):
                delivery.served.add(subscription.key)
                self._call(subscription, delivery)

    def _is_wanted(self, subscription: Subscription, delivery: Delivery) -> bool:
        return (
            subscription.key not in delivery.served
            and subscription.is_live
            and subscription.interest.accepts(delivery.channel, delivery.event)
            # A handler that ran before this one may have taken it out.
            and self._registry.holds(subscription)
        )

    def _call(self, subscription: Subscription, delivery: Delivery) -> None:
        topic = delivery.channel.decode(errors="replace")
        self._counters.delivered += 1
        try:
            subscription.receiver(topic, delivery.event)
        except Gone:
            self._registry.discard(subscription)
        except BaseException as error:  # an exit or interrupt would end the thread for all
            self._counters.handler_errors += 1
            if self._errors.claim((subscription.key, type(error))):
                _log.exception(
                    "handler %r of topic %r raised; other handlers go on (the same from it is "
                    "logged once a minute)",
                    subscription.handler,
                    topic,
                )
