"""The bus that users hold."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import ClassVar, Self

from bb5_breaker._bus.bus_config import EventBusConfig
from bb5_breaker._bus.forks import disown_in_children
from bb5_breaker._bus.registry import Handler, Registry, check_handler
from bb5_breaker._bus.session import Session
from bb5_breaker._bus.states import BusState, BusStats, Counters
from bb5_breaker._bus.terms import Terms
from bb5_breaker._bus.topics import Topic, name_channel
from bb5_breaker.events import Event, encode_event
from bb5_breaker.exceptions import EventBusError, RedisConnectionError

__all__ = ["RedisEventBus"]


class RedisEventBus:
    """Publishes events and hands those of others to handlers.

    Handlers are called as ``handler(topic, event)`` on one thread of the bus, in the order of
    publication; ``topic`` is the channel on which the event came. What a handler raises is
    logged. An event reaches a handler once, under however many topics it is subscribed. Handlers
    may use the bus freely, also to subscribe, unsubscribe and disconnect.

    Topics that begin with ``circuit_breaker.`` stand for the circuits of the configured prefix.
    Events published while the bus has no connection do not reach it.

    Thread-safe. Subscriptions outlive connections: they are kept over a loss, and over
    ``disconnect()`` and ``connect()``. After a fork the child's bus is disconnected, with the
    subscriptions, until it calls ``connect()``. As a context manager it connects and disconnects.

    Args:
        config: Settings; None gives the defaults. What it leaves to
            :func:`~bb5_breaker.configure` is read at each ``connect()``.

    Raises:
        TypeError: ``config`` is of the wrong kind.
    """

    # The scripts publish every transition, so a breaker need not tell this bus.
    hears_scripts: ClassVar[bool] = True

    def __init__(self, config: EventBusConfig | None = None) -> None:
        if config is not None and not isinstance(config, EventBusConfig):
            raise TypeError(f"config must be an EventBusConfig, got {type(config).__name__}")
        self._config = config if config is not None else EventBusConfig()
        self._registry = Registry(Terms.now(self._config).prefix)
        self._counters = Counters()
        self._lock = threading.Lock()
        self._session: Session | None = None
        disown_in_children(self)

    def __repr__(self) -> str:
        session = self._session
        where = f" to Redis at {session.address}" if session else ""
        return f"<RedisEventBus {self.state}{where}>"

    @property
    def config(self) -> EventBusConfig:
        """Settings of the bus."""
        return self._config

    @property
    def state(self) -> BusState:
        """State of the connection that hears events."""
        session = self._session
        return BusState.DISCONNECTED if session is None else session.state

    @property
    def is_connected(self) -> bool:
        """True when events are heard: connected, every subscription confirmed (or refused)."""
        return self.state is BusState.CONNECTED

    @property
    def stats(self) -> BusStats:
        """What the bus has done since it was made."""
        return self._counters.read()

    def connect(self) -> None:
        """Connect, and subscribe to what was subscribed before; nothing while there is a session.

        Once connected, a connection that is lost is made again until ``disconnect()``.

        Raises:
            RedisConnectionError: No Redis could be reached; the bus stays disconnected.
            ValueError: The configured URL is malformed.
        """
        session = self._begin()
        try:
            session.await_connection()
        except EventBusError:
            self._end(session)
            raise

    def disconnect(self) -> None:
        """Stop hearing events; subscriptions are kept for the next ``connect()``.

        Waits for a running handler for at most ``close_timeout``, and not at all inside one.
        Afterwards no handler is called. Twice is no harm.
        """
        session = self._session
        if session is not None:
            self._end(session)

    def publish(self, topic: str, event: Event) -> int:
        """Publish an event.

        Args:
            topic: Channel to publish on, 1 to 512 characters, no pattern.
            event: The event; its data must be of plain values, at most 16 KiB on the wire.

        Returns:
            How many subscriptions received it, counted over all connections.

        Raises:
            RedisConnectionError: The bus is not connected or Redis can not be reached.
            RedisPubSubError: Redis refused.
            ValueError: The topic is malformed, or the event can not be encoded.
            TypeError: ``event`` is no event.
        """
        if not isinstance(event, Event):
            raise TypeError(f"event must be an Event, got {type(event).__name__}")
        session = self._session
        terms = Terms.now(self._config) if session is None else session.terms
        channel = name_channel(topic, terms.prefix)
        payload = encode_event(event, terms.event_format)
        if session is None:
            raise RedisConnectionError(
                "the event bus is not connected in this process; call connect() first "
                "(after a fork, in the child as well)"
            )
        return session.publish(channel, payload)

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Have a handler called with the events of a topic.

        Returns once Redis confirmed it: what is published from then on arrives. Inside a handler
        it returns at once, and while there is no connection it takes effect with the next one.

        Args:
            topic: A channel; a pattern when it has a ``*`` in it; or
                ``Topics.CIRCUIT_BREAKER_STATE`` for all transitions of all circuits.
            handler: A plain callable ``handler(topic, event)``.

        Raises:
            RedisPubSubError: Redis refused, or did not confirm within ``timeout``; the handler
                is not subscribed.
            ValueError: The topic is malformed.
            TypeError: The handler can not be called so.
        """
        self._add(Topic.named(topic), handler)

    def psubscribe(self, pattern: str, handler: Handler) -> None:
        r"""Have a handler called with the events of all channels that match a pattern.

        Args:
            pattern: A glob pattern of Redis, with ``* ? [ ] \``.
            handler: As in :meth:`subscribe`.

        Raises:
            RedisPubSubError, ValueError, TypeError: As in :meth:`subscribe`.
        """
        self._add(Topic.pattern(pattern), handler)

    def unsubscribe(self, topic: str, handler: Handler | None = None) -> int:
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

    def disown(self) -> None:
        """Be disconnected, in the child of a fork; called by itself."""
        session, self._session = self._session, None
        self._lock = threading.Lock()
        self._registry.renew_lock()
        if session is not None:
            session.disown()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disconnect()

    def _begin(self) -> Session:
        with self._lock:
            if self._session is None:
                terms = Terms.now(self._config)
                session = Session(terms, self._registry, self._config, self._counters)
                self._registry.rename(terms.prefix)
                session.start()
                self._session = session
            return self._session

    def _end(self, session: Session) -> None:
        # Taken out under the lock and closed outside of it: a handler that disconnects while
        # another thread does must not wait for that thread, which waits for the handler.
        with self._lock:
            if self._session is not session:
                return
            self._session = None
        session.close()

    def _add(self, topic: Topic, handler: Handler) -> None:
        check_handler(handler)
        subscription, is_new = self._registry.add(topic, handler)
        session = self._session
        if session is None:
            return
        try:
            session.await_subscription(subscription)
        except EventBusError:
            if is_new:
                self._registry.discard(subscription)
                session.note_change()
            raise

    def _note_change(self) -> None:
        session = self._session
        if session is not None:
            session.note_change()
