"""The connection that hears events, and the thread that keeps it alive."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Final

from bb5_breaker._bus.bus_config import EventBusConfig
from bb5_breaker._bus.conversation import Conversation
from bb5_breaker._bus.dispatcher import Dispatcher
from bb5_breaker._bus.faults import explain_loss
from bb5_breaker._bus.follower import Follower
from bb5_breaker._bus.ledger import Ledger
from bb5_breaker._bus.publications import PublicationReader
from bb5_breaker._bus.registry import Registry
from bb5_breaker._bus.replay import Stretch
from bb5_breaker._bus.source import Source
from bb5_breaker._bus.states import BusState, Counters
from bb5_breaker._bus.watch import Watch
from bb5_breaker._store.faults import CLIENT_ERRORS
from bb5_breaker._store.push.backoff import Backoff
from bb5_breaker._store.push.post import Post
from bb5_breaker._store.push.waker import Waker
from bb5_breaker._store.push.wire import Wire
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.exceptions import EventBusError, RedisConnectionError, StoreError

__all__ = ["Feed"]

_log = logging.getLogger("bb5_breaker")
_HANDSHAKE_REPLIES: Final = 5


class Feed:
    """Connects, subscribes, hears, and does it again when the connection is lost.

    The first attempt decides whether the bus is connected at all; after it the feed goes on until
    it is stopped. It never runs a handler, so none can hold it up.

    Args:
        source: Where Redis is.
        store: The circuits there, and which server to listen on.
        registry: What is listened to.
        dispatcher: Takes the events.
        follower: Knows what has been told of the circuits.
        watch: Sees to open periods.
        config: Settings of the bus.
        counters: Where publications and reconnects are counted.
    """

    def __init__(
        self,
        source: Source,
        store: RedisStore,
        registry: Registry,
        dispatcher: Dispatcher,
        follower: Follower,
        watch: Watch,
        config: EventBusConfig,
        counters: Counters,
    ) -> None:
        self.ledger = Ledger(registry)
        self._source = source
        self._store = store
        self._registry = registry
        self._dispatcher = dispatcher
        self._follower = follower
        self._watch = watch
        self._config = config
        self._counters = counters
        self._reader = PublicationReader(counters)
        self._backoff = Backoff(config.reconnect_delay, config.max_reconnect_delay)
        self._connected_at = 0.0
        self._was_connected = False
        self._stopping = threading.Event()
        self._waker = Waker()
        self._wire: Wire | None = None
        self._thread = threading.Thread(target=self._run, name="bb5-bus-feed", daemon=True)

    @property
    def patience(self) -> float:
        """Seconds after which the first attempt to connect counts as failed.

        Bounded from outside as well, because looking up a name is under no time-out of redis-py.
        """
        return self._config.timeout * _HANDSHAKE_REPLIES

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Have the thread look at the registry now."""
        self._waker.wake()

    def stop(self) -> None:
        """Let the thread end."""
        self._stopping.set()
        self._waker.wake()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end; one that hangs in a look-up of a name is left to it."""
        self._thread.join(seconds)

    def disown(self) -> None:
        """In the child of a fork: close its copies of the descriptors; the parent's stay up."""
        self._waker.close()
        if self._wire is not None:
            self._wire.close()

    def _run(self) -> None:
        error: EventBusError | None = None
        try:
            error = self._keep_connected()
        finally:
            self.ledger.enter(BusState.DISCONNECTED, error)
            self._waker.close()

    def _keep_connected(self) -> EventBusError | None:
        """Connect until stopped; return why there never was a connection."""
        while True:
            error = self._connect_once()
            if self._stopping.is_set():
                return None
            if not self._was_connected:
                return error
            self._note_loss(error)
            if self._stopping.wait(self._backoff.next_delay()):
                return None

    def _connect_once(self) -> EventBusError:
        """Live through one connection and return why it ended."""
        try:
            self._use_connection()
        except StoreError as error:
            return RedisConnectionError(error.message)
        except CLIENT_ERRORS as fault:
            return explain_loss(fault, self._source.address)
        except Exception as error:
            _log.exception("the feed of the event bus met an error that it did not expect")
            return RedisConnectionError(f"unexpected {type(error).__name__} in the feed")
        finally:
            self.ledger.forget_all()
        return RedisConnectionError("the event bus was disconnected")

    def _use_connection(self) -> None:
        config = self._config
        self._source.prepare()
        post = self._store.find_post()
        # A read that has begun must not outlast the heartbeat.
        wire = Wire(post.client, min(config.timeout, config.heartbeat_interval), self._waker)
        self._wire = wire
        try:
            wire.open()
            self._converse(wire, post)
        except CLIENT_ERRORS:
            post.note_loss()
            raise
        finally:
            self._wire = None
            wire.close()

    def _converse(self, wire: Wire, post: Post) -> None:
        self._reader.note_change()
        conversation = Conversation(
            wire,
            self.ledger,
            self._registry,
            self._reader,
            self._dispatcher,
            self._follower,
            self._watch,
            self._config.heartbeat_interval,
            self._source.address,
        )
        has_caught_up = not self._was_connected
        while not self._stopping.is_set():
            conversation.take_turn()
            post.inspect()
            if not conversation.is_settled:
                continue
            if not has_caught_up:
                # Only now that Redis sends what happens: nothing falls between.
                self._put_all(self._follower.catch_up())
                has_caught_up = True
            self._put_all(self._follower.catch_up_rest())
            if self.ledger.state is not BusState.CONNECTED:
                self._enter_connected()

    def _put_all(self, missed: Iterable[Stretch]) -> None:
        for stretch in missed:
            self._dispatcher.put(stretch)

    def _enter_connected(self) -> None:
        if not self.ledger.enter_connected():
            return
        self._connected_at = time.monotonic()
        if self._was_connected:
            self._counters.reconnects += 1
            _log.warning("the event bus is connected to Redis at %s again", self._source.address)
        self._was_connected = True

    def _note_loss(self, error: EventBusError) -> None:
        if self.ledger.state is not BusState.CONNECTED:
            return
        self._backoff.note_lifetime(time.monotonic() - self._connected_at)
        self.ledger.enter(BusState.RECONNECTING)
        _log.warning(
            "%s. The event bus goes on trying; what happens to circuits meanwhile is told then, "
            "other events are lost",
            error.message,
        )
