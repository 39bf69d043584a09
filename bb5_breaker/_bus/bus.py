"""The bus that users hold."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import ClassVar, Self

from bb5_breaker._bus.bus_config import EventBusConfig
from bb5_breaker._bus.forks import disown_in_children
from bb5_breaker._bus.session import Session
from bb5_breaker._bus.sharing import SharingSubscriber
from bb5_breaker._bus.states import BusState, BusStats
from bb5_breaker._bus.terms import Terms
from bb5_breaker._bus.topics import name_channel
from bb5_breaker.events import Event, encode_event
from bb5_breaker.exceptions import EventBusError, RedisConnectionError

__all__ = ["RedisEventBus"]


class RedisEventBus(SharingSubscriber):
    """Publishes events and hands those of others to handlers.

    Handlers are called as ``handler(topic, event)``, in the order of publication; ``topic`` is
    the channel on which the event came. Plain ones run on one thread of the bus, coroutine
    functions in the event loop in which they were subscribed. What a handler raises is logged. An
    event reaches a handler once, under however many topics it is subscribed. Handlers may use the
    bus freely, also to subscribe, unsubscribe and disconnect.

    Topics that begin with ``circuit_breaker.`` stand for the circuits of the configured prefix.
    Their transitions are told once each and in their order, also those that happened while the
    connection was lost: they are read in the circuits' histories. Where a history no longer
    reaches so far back, or handlers are too slow for the queue, an event of the type
    ``EVENTS_MISSED`` stands for what is left out; its data has ``missed``, a number, ``reason``,
    and ``service`` with the state of the last one where they are known. Other events that are
    published while the bus has no connection do not reach it, and what happens between
    ``disconnect()`` and ``connect()`` is not told either.

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
        super().__init__(config if config is not None else EventBusConfig())
        self._lock = threading.Lock()
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
            How many subscriptions received it, counted over all connections; of a Cluster, over
            those to one of its nodes.

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
        self._stop_consumers()
        session.close()
