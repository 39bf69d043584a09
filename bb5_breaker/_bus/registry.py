"""Who wants to hear what. It outlives connections."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from bb5_breaker._bus.topics import Interest, Topic
from bb5_breaker._store.push.frames import Channel
from bb5_breaker.events import Event

__all__ = ["Handler", "Registry", "Subscription", "check_handler"]

Handler = Callable[[str, Event], object]


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One handler under one topic.

    Args:
        topic: The topic as it was named.
        interest: What it means under the prefix in force.
        handler: What is called.
        key: The handler's identity; two bound methods of one object are the same.
    """

    topic: Topic
    interest: Interest
    handler: Handler
    key: Hashable


class Registry:
    """The subscriptions of one bus, by what they need of Redis.

    Thread-safe. Readers take no lock: each channel's tuple is replaced as a whole, so a child
    of a fork finds it consistent at any moment.

    Args:
        prefix: Prefix by which topics are read.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._listeners: dict[Channel, tuple[Subscription, ...]] = {}
        self.version = 0

    def add(self, topic: Topic, handler: Handler) -> tuple[Subscription, bool]:
        """Return the subscription of a handler, and whether it is a new one."""
        key = _key_of(handler)
        with self._lock:
            interest = topic.resolve(self._prefix)
            held = self._listeners.get(interest.channel, ())
            for old in held:
                if old.key == key and old.interest == interest:
                    return old, False
            new = Subscription(topic, interest, handler, key)
            self._keep(interest.channel, (*held, new))
            return new, True

    def discard(self, subscription: Subscription) -> None:
        """Take one subscription out; nothing happens when it is out already."""
        channel = subscription.interest.channel
        with self._lock:
            held = self._listeners.get(channel, ())
            self._keep(channel, tuple(each for each in held if each is not subscription))

    def remove(self, topic: Topic, handler: Handler | None) -> int:
        """Take the subscriptions under a topic out, of one handler or (None) of all.

        Returns:
            How many there were.
        """
        key = None if handler is None else _key_of(handler)
        with self._lock:
            interest = topic.resolve(self._prefix)
            held = self._listeners.get(interest.channel, ())
            kept = tuple(
                each
                for each in held
                if each.interest != interest or (handler is not None and each.key != key)
            )
            if len(kept) < len(held):
                self._keep(interest.channel, kept)
            return len(held) - len(kept)

    def clear(self) -> None:
        """Take all subscriptions out."""
        with self._lock:
            self._listeners = {}
            self.version += 1

    def rename(self, prefix: str) -> None:
        """Read all topics by another prefix from now on."""
        with self._lock:
            if prefix == self._prefix:
                return
            self._prefix = prefix
            renamed: dict[Channel, tuple[Subscription, ...]] = {}
            for each in [each for held in self._listeners.values() for each in held]:
                interest = each.topic.resolve(prefix)
                anew = Subscription(each.topic, interest, each.handler, each.key)
                renamed[interest.channel] = (*renamed.get(interest.channel, ()), anew)
            self._listeners = renamed
            self.version += 1

    def channels(self) -> frozenset[Channel]:
        """Return all that is needed of Redis."""
        with self._lock:
            return frozenset(self._listeners)

    def listeners(self, channel: Channel) -> tuple[Subscription, ...]:
        """Return who listens to a channel or pattern, in the order in which they came."""
        return self._listeners.get(channel, ())

    def holds(self, subscription: Subscription) -> bool:
        """Return True when a subscription has not been taken out."""
        return subscription in self.listeners(subscription.interest.channel)

    def renew_lock(self) -> None:
        """Make the registry usable in the child of a fork, where the lock may stay held."""
        self._lock = threading.Lock()

    def _keep(self, channel: Channel, subscriptions: tuple[Subscription, ...]) -> None:
        if subscriptions:
            self._listeners[channel] = subscriptions
        else:
            self._listeners.pop(channel, None)
        self.version += 1


def check_handler(handler: object) -> None:
    """Refuse what can not be called as ``handler(topic, event)``.

    Raises:
        TypeError: It is not callable, takes other arguments, or is a coroutine function.
    """
    if not callable(handler):
        raise TypeError(f"handler must be callable, got {type(handler).__name__}")
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - the method is wanted, not an answer
    ):
        raise TypeError(
            "handler is a coroutine function, which nothing would await; "
            "give a plain function handler(topic, event)"
        )
    try:
        inspect.signature(handler).bind("topic", "event")
    except TypeError as error:
        raise TypeError(f"handler must take handler(topic, event): {error}") from None
    except ValueError:
        # Some built-in callables have no signature to look at.
        return


def _key_of(handler: Handler) -> Hashable:
    try:
        hash(handler)
    except TypeError:
        return id(handler)
    return handler
