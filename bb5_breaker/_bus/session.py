"""One period between connect and disconnect."""

from __future__ import annotations

import logging

from bb5_breaker._bus.bus_config import EventBusConfig
from bb5_breaker._bus.dispatcher import Dispatcher
from bb5_breaker._bus.feed import Feed
from bb5_breaker._bus.follower import Follower
from bb5_breaker._bus.publications import Delivery
from bb5_breaker._bus.publisher import Publisher
from bb5_breaker._bus.registry import Registry, Subscription
from bb5_breaker._bus.replay import Replay
from bb5_breaker._bus.source import open_source
from bb5_breaker._bus.states import BusState, Counters
from bb5_breaker._bus.terms import Terms
from bb5_breaker._bus.watch import Watch
from bb5_breaker._core.policy import StoreRules
from bb5_breaker._store.event_log import EventLog
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.configuration import open_link
from bb5_breaker.events import Event, Topics
from bb5_breaker.exceptions import RedisConnectionError, RedisPubSubError

__all__ = ["Session"]

_log = logging.getLogger("bb5_breaker")


class Session:
    """A feed, a dispatcher and the connections to publish over. Thread-safe; used once.

    Args:
        terms: Where Redis is, and how topics and events are read and written.
        registry: Who listens.
        config: Settings of the bus.
        counters: The figures of the bus.

    Raises:
        RedisConnectionError: There is no Redis to connect to.
        ValueError: The URL is malformed.
    """

    def __init__(
        self,
        terms: Terms,
        registry: Registry,
        config: EventBusConfig,
        counters: Counters,
    ) -> None:
        self.terms = terms
        self._is_closed = False
        self._source = source = open_source(terms.target, config.timeout)
        self._config = config
        rules = StoreRules(prefix=terms.prefix, event_format=terms.event_format)
        self.store = store = RedisStore(source.client, rules, source.address)
        registry.restart_backlogs()
        replay = Replay(EventLog(store), counters)
        self._dispatcher = Dispatcher(registry, replay, config.queue_size, counters)
        link = open_link(terms.settings, terms.target)
        link.hearers.add(self)
        watch = Watch(store, link, config.keyspace_notifications)
        follower = Follower(store, registry, watch, counters)
        self._feed = Feed(
            source, store, registry, self._dispatcher, follower, watch, config, counters
        )
        self._publisher = Publisher(source)

    @property
    def state(self) -> BusState:
        """State of the feed."""
        return self._feed.ledger.state

    @property
    def address(self) -> str:
        """Where Redis is, without secrets."""
        return self._source.address

    def start(self) -> None:
        """Start the threads; the feed begins to connect."""
        self._dispatcher.start()
        self._feed.start()

    def await_connection(self) -> None:
        """Wait until the first attempt to connect has ended.

        Raises:
            RedisConnectionError: It failed, took too long, or was given up.
        """
        patience = self._feed.patience
        if not self._feed.ledger.await_connection(patience):
            raise RedisConnectionError(
                f"Redis at {self.address} was not reached within {patience:g} s; check the "
                "address (looking up its name may hang), or raise EventBusConfig.timeout"
            )
        if self._is_closed or self.state is BusState.DISCONNECTED:
            raise RedisConnectionError("the event bus was disconnected while it was connecting")

    def await_subscription(self, subscription: Subscription) -> None:
        """Wait until Redis confirmed a subscription; not inside a handler.

        Raises:
            RedisPubSubError: Redis refused it, or did not answer in time.
        """
        self._feed.wake()
        if self._dispatcher.is_current:
            return
        seconds = self._config.timeout
        if not self._feed.ledger.await_confirmation(subscription, seconds):
            name = subscription.interest.channel.name.decode()
            raise RedisPubSubError(
                f"Redis at {self.address} did not confirm the subscription to '{name}' within "
                f"{seconds:g} s, so it is not in force; try again, or raise EventBusConfig.timeout"
            )

    def hear_of_store(self, event: Event) -> None:
        """Tell the subscribers of this process what became of the store."""
        if not self._is_closed:
            self._dispatcher.put(Delivery(None, Topics.STORE.encode(), event, set()))

    def note_change(self) -> None:
        """The registry changed; nothing is waited for."""
        self._feed.wake()

    def publish(self, channel: str, payload: bytes) -> int:
        """Publish, over a connection apart from the feed's.

        Returns:
            How many subscriptions received it.

        Raises:
            RedisConnectionError: Redis can not be reached.
            RedisPubSubError: Redis refused.
        """
        return self._publisher.publish(channel, payload)

    def close(self) -> None:
        """End the threads and connections, waiting for a running handler for a bounded time."""
        self._is_closed = True
        self._feed.stop()
        self._dispatcher.stop()
        seconds = self._config.close_timeout
        self._feed.join(seconds)
        if not self._dispatcher.join(seconds):
            _log.warning(
                "a handler of the event bus still runs %g s after disconnect(); it is left to end "
                "by itself",
                seconds,
            )
        self._publisher.close(self._config.timeout)

    def disown(self) -> None:
        """In the child of a fork: leave all to the parent."""
        self._dispatcher.disown()
        self._feed.disown()
