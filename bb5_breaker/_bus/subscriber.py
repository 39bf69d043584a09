"""How handlers come to hear events: the subscriber's side of the bus."""

from __future__ import annotations

import asyncio
from typing import cast

from bb5_breaker._bus.bus_config import EventBusConfig
from bb5_breaker._bus.handlers import (
    AsyncHandler,
    Handler,
    check_handler,
    is_coroutine_handler,
)
from bb5_breaker._bus.inboxes import AsyncReceiver, Inbox
from bb5_breaker._bus.listener import Arrivals, Listener
from bb5_breaker._bus.registry import Registry, Subscription
from bb5_breaker._bus.session import Session
from bb5_breaker._bus.states import Counters
from bb5_breaker._bus.terms import Terms
from bb5_breaker._bus.topics import Topic
from bb5_breaker._shell.aside import ask_aside
from bb5_breaker._store.entry_ids import Since
from bb5_breaker.checks import check_whole
from bb5_breaker.exceptions import EventBusError

__all__ = ["Subscriber"]


class Subscriber:
    """Keeps the subscriptions of one bus; see :class:`~bb5_breaker.RedisEventBus`. Thread-safe.

    Args:
        config: Settings of the bus.
    """

    def __init__(self, config: EventBusConfig) -> None:
        self._config = config
        self._registry = Registry(Terms.now(config).prefix)
        self._counters = Counters()
        # The period between connect and disconnect; None outside of one.
        self._session: Session | None = None

    def subscribe(self, topic: str, handler: Handler | AsyncHandler, since: str = "now") -> None:
        """Have a handler called with the events of a topic.

        Returns once Redis confirmed it: what is published from then on arrives. Inside a handler
        it returns at once, and while there is no connection it takes effect with the next one.
        In an event loop :meth:`subscribe_async` does not block meanwhile.

        Args:
            topic: A channel; a pattern when it has a ``*`` in it; or
                ``Topics.CIRCUIT_BREAKER_STATE`` for all transitions of all circuits.
            handler: A callable ``handler(topic, event)``. A coroutine function runs in the event
                loop that calls this, one event at a time; when it is too slow for
                ``queue_size``, the oldest that wait for it are dropped.
            since: "now"; or, for topics of circuits, "beginning" or the id of an event, to be
                told first of the transitions since then that are kept in the histories. Those in
                the same millisecond as that event, of other circuits, are told again.

        Raises:
            RedisPubSubError: Redis refused, or did not confirm within ``timeout``; the handler
                is not subscribed.
            ValueError: The topic or ``since`` is malformed.
            TypeError: The handler can not be called so.
            RuntimeError: A coroutine function is subscribed outside of an event loop.
        """
        self._confirm(*self._add(Topic.named(topic), handler, since))

    def psubscribe(self, pattern: str, handler: Handler | AsyncHandler, since: str = "now") -> None:
        r"""Have a handler called with the events of all channels that match a pattern.

        Args:
            pattern: A glob pattern of Redis, with ``* ? [ ] \``.
            handler: As in :meth:`subscribe`.
            since: Likewise.

        Raises:
            RedisPubSubError, ValueError, TypeError, RuntimeError: As in :meth:`subscribe`.
        """
        self._confirm(*self._add(Topic.pattern(pattern), handler, since))

    async def subscribe_async(
        self, topic: str, handler: Handler | AsyncHandler, since: str = "now"
    ) -> None:
        """As :meth:`subscribe`, without blocking the event loop."""
        added = self._add(Topic.named(topic), handler, since)
        await ask_aside(lambda: self._confirm(*added))

    def listen(self, topic: str, since: str = "now", queue_size: int | None = None) -> Listener:
        """Return the events of a topic for ``async for``, from now on.

        The first step of the loop waits until Redis confirmed the subscription. Leave the loop by
        ``break`` and it is taken back when the iterator is gone, or use ``async with``::

            async with bus.listen("circuit_breaker.*") as events:
                async for event in events:
                    ...

        Args:
            topic: As in :meth:`subscribe`.
            since: Likewise.
            queue_size: Events, 1 to 1,000,000, that may wait; beyond that the oldest are dropped
                and an event says so. None takes that of the configuration.

        Returns:
            An async iterator of :class:`~bb5_breaker.events.Event`, for one task; it goes on when
            the connection was lost.

        Raises:
            ValueError: An argument is malformed.
            RuntimeError: There is no running event loop.
            RedisPubSubError: By the first step; Redis refused, or did not confirm in time.
        """
        size = self._config.queue_size if queue_size is None else queue_size
        check_whole("queue_size", size, 1, 1_000_000)
        arrivals = Arrivals()
        inbox = Inbox(asyncio.get_running_loop(), size, self._counters, arrivals.tell)
        subscription, _ = self._register(Topic.named(topic), inbox, inbox.put, since)
        return Listener(
            arrivals,
            inbox,
            lambda: self._confirm(subscription, True),
            lambda: self._drop(subscription),
        )

    def unsubscribe(self, topic: str, handler: Handler | AsyncHandler | None = None) -> int:
        """Take back subscriptions made under a topic or pattern.

        Args:
            topic: As given to :meth:`subscribe` or :meth:`psubscribe`.
            handler: The handler; None for all of this topic.

        Returns:
            How many subscriptions there were. Their handlers are not called any more, save for
            a call under way.

        Raises:
            ValueError: The topic is malformed.
        """
        removed = self._registry.remove(Topic.named(topic), handler)
        removed += self._registry.remove(Topic.pattern(topic), handler)
        self._note_change()
        return removed

    def unsubscribe_all(self) -> None:
        """Take back all subscriptions."""
        self._registry.clear()
        self._note_change()

    def _add(self, topic: Topic, handler: object, since: str) -> tuple[Subscription, bool]:
        check_handler(handler)
        receiver = cast(Handler, handler)
        if is_coroutine_handler(handler):
            receiver = self._receiver_of(cast(AsyncHandler, handler))
        return self._register(topic, handler, receiver, since)

    def _register(
        self, topic: Topic, handler: object, receiver: Handler, since: str
    ) -> tuple[Subscription, bool]:
        start = Since.parse(since)
        if start is not None and not self._registry.hears_circuits(topic):
            raise ValueError(
                f"since must be 'now' for topic {topic.text!r}: only transitions of circuits have "
                "a history"
            )
        return self._registry.add(topic, handler, receiver, start)

    def _receiver_of(self, handler: AsyncHandler) -> AsyncReceiver:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                f"handler {handler!r} is a coroutine function: subscribe it inside the event loop "
                "in which it is to run, or give a plain function"
            ) from None
        return AsyncReceiver(handler, loop, self._config.queue_size, self._counters)

    def _confirm(self, subscription: Subscription, is_new: bool) -> None:
        session = self._session
        if session is None:
            return
        try:
            session.await_subscription(subscription)
        except EventBusError:
            if is_new:
                self._drop(subscription)
            raise

    def _drop(self, subscription: Subscription) -> None:
        self._registry.discard(subscription)
        self._note_change()

    def _note_change(self) -> None:
        session = self._session
        if session is not None:
            session.note_change()
