"""Consumers of a bus that share the transitions with those of other processes."""

from __future__ import annotations

from weakref import WeakSet

from bb5_breaker._bus.bus_config import EventBusConfig
from bb5_breaker._bus.faults import explain_store_error
from bb5_breaker._bus.groups import GroupConsumer
from bb5_breaker._bus.handlers import Handler
from bb5_breaker._bus.subscriber import Subscriber
from bb5_breaker._bus.topics import Topic
from bb5_breaker.events import Event, Topics
from bb5_breaker.exceptions import RedisConnectionError, StoreError

__all__ = ["SharingSubscriber"]


class SharingSubscriber(Subscriber):
    """A subscriber with consumer groups; see :class:`~bb5_breaker.RedisEventBus`. Thread-safe.

    Args:
        config: Settings of the bus.
    """

    def __init__(self, config: EventBusConfig) -> None:
        super().__init__(config)
        self._consumers: WeakSet[GroupConsumer] = WeakSet()

    def consume(
        self,
        group: str,
        handler: Handler,
        topic: str = Topics.CIRCUIT_BREAKER_ALL,
        *,
        since: str = "now",
        claim_after: float = 60.0,
        max_deliveries: int = 5,
    ) -> GroupConsumer:
        """Share the transitions of circuits with all processes that consume under the same name.

        Each is handled by one of them: "page once per incident". It is done with when its handler
        returned; when that raised, or its process died, one of the group is given it again. The
        consumer runs until it is stopped, or the bus is disconnected.

        Args:
            group: Name of the group: 1 to 64 ASCII letters, digits, ``_``, ``.``, ``:`` or ``-``.
            handler: A plain callable ``handler(topic, event)``, run on a thread of the consumer's
                own. It should bear being called twice for one transition.
            topic: Which circuits: a channel or a pattern as in :meth:`subscribe`; the same in the
                whole group.
            since: "now", "beginning" or the id of an event, from where on the group is told. It
                counts when the group is new; from then on nothing is missed, whoever is away.
            claim_after: Seconds, 0.1 to 86,400, after which another consumer takes over.
            max_deliveries: How often, 1 to 1000, a transition is given to handlers before it is
                given up, with an error in the log.

        Returns:
            The consumer; ``with bus.consume(...)`` stops it at the end of the block.

        Raises:
            RedisConnectionError: The bus is not connected, or Redis can not be reached.
            RedisPubSubError: Redis refused.
            ValueError: An argument is malformed.
            TypeError: The handler can not be called so, or is a coroutine function.
        """
        session = self._session
        if session is None:
            raise RedisConnectionError("the event bus is not connected; call connect() first")
        named, beginning = Topic.named(topic), f"{session.terms.prefix}."
        if not self._registry.hears_circuits(named):
            raise ValueError(f"a group is told of circuits, and topic {topic!r} brings none")
        interest = named.resolve(session.terms.prefix)
        consumer = GroupConsumer(
            session.store,
            group,
            lambda service: interest.hears(f"{beginning}{service}".encode()),
            handler,
            since=since,
            claim_after=claim_after,
            max_deliveries=max_deliveries,
            on_stop=lambda: self._drop(subscription),
        )

        def wake(topic: str, event: Event) -> None:
            # Whatever it is about: only the name of the circuit is taken.
            consumer.wake(event.data.get("service") or None)

        # Before the first look at the histories: nothing falls between.
        subscription, _ = self._register(named, wake, wake, "now")
        self._confirm(subscription, True)
        try:
            consumer.start()
        except StoreError as error:
            consumer.stop()
            raise explain_store_error(error) from error
        self._consumers.add(consumer)
        return consumer

    def _stop_consumers(self) -> None:
        for consumer in list(self._consumers):
            consumer.stop(self._config.close_timeout)
        self._consumers.clear()
