"""Who wants to hear what. It outlives connections."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, replace

from bb5_breaker._bus.globs import matches
from bb5_breaker._bus.handlers import Handler, key_of
from bb5_breaker._bus.inboxes import AsyncReceiver
from bb5_breaker._bus.topics import Interest, Topic
from bb5_breaker._store.entry_ids import Since
from bb5_breaker._store.push.frames import Channel

__all__ = [
    "Backlog",
    "Registry",
    "Subscription",
]


class Backlog:
    """What one subscriber wants to be told of before he hears what happens.

    Args:
        since: From where on.
    """

    __slots__ = ("is_told", "is_under_way", "since")

    def __init__(self, since: Since) -> None:
        self.since = since
        self.is_under_way = False
        self.is_told = False


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One handler under one topic.

    Args:
        topic: The topic as it was named.
        interest: What it means under the prefix in force.
        handler: What the user gave.
        receiver: What is called, on the dispatcher's thread.
        key: The handler's identity; two bound methods of one object are the same.
        backlog: What comes first; None for one who is told from now on.
    """

    topic: Topic
    interest: Interest
    handler: object
    receiver: Handler
    key: Hashable
    backlog: Backlog | None = None

    @property
    def is_live(self) -> bool:
        """True when it is told what happens."""
        return self.backlog is None or self.backlog.is_told


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
        self._patterns: tuple[Channel, ...] = ()
        self.version = 0

    def add(
        self, topic: Topic, handler: object, receiver: Handler, since: Since | None
    ) -> tuple[Subscription, bool]:
        """Return the subscription of a handler, and whether it is a new one.

        Args:
            topic: What it is to hear.
            handler: What the user gave.
            receiver: What is to be called.
            since: From where on it is to be told; None from now on.
        """
        key = key_of(handler)
        backlog = None if since is None else Backlog(since)
        with self._lock:
            interest = topic.resolve(self._prefix)
            held = self._listeners.get(interest.channel, ())
            for old in held:
                if old.key == key and old.interest == interest:
                    return old, False
            new = Subscription(topic, interest, handler, receiver, key, backlog)
            self._keep(interest.channel, (*held, new))
            return new, True

    def discard(self, subscription: Subscription) -> None:
        """Take one subscription out; nothing happens when it is out already."""
        channel = subscription.interest.channel
        with self._lock:
            held = self._listeners.get(channel, ())
            self._keep(channel, tuple(each for each in held if each is not subscription))
        _close(subscription)

    def remove(self, topic: Topic, handler: object | None) -> int:
        """Take the subscriptions under a topic out, of one handler or (None) of all.

        Returns:
            How many there were.
        """
        key = None if handler is None else key_of(handler)
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
        removed = [each for each in held if each not in kept]
        for each in removed:
            _close(each)
        return len(removed)

    def clear(self) -> None:
        """Take all subscriptions out."""
        with self._lock:
            held, self._listeners = self._listeners, {}
            self._note_change()
        for each in [each for one in held.values() for each in one]:
            _close(each)

    def rename(self, prefix: str) -> None:
        """Read all topics by another prefix from now on."""
        with self._lock:
            if prefix == self._prefix:
                return
            self._prefix = prefix
            renamed: dict[Channel, tuple[Subscription, ...]] = {}
            for each in [each for held in self._listeners.values() for each in held]:
                interest = each.topic.resolve(prefix)
                anew = replace(each, interest=interest)
                renamed[interest.channel] = (*renamed.get(interest.channel, ()), anew)
            self._listeners = renamed
            self._note_change()

    def hears_circuits(self, topic: Topic) -> bool:
        """Return True when a topic may bring transitions of circuits."""
        prefix = self._prefix
        return topic.resolve(prefix).may_hear(f"{prefix}.".encode())

    def channels(self) -> frozenset[Channel]:
        """Return all that is needed of Redis."""
        with self._lock:
            return frozenset(self._listeners)

    def interests(self) -> list[Interest]:
        """Return what is listened to, each once."""
        return list({each.interest: None for each in self._all()})

    def awaiting(self) -> list[Subscription]:
        """Return the subscriptions whose backlog nobody has begun to tell."""
        return [
            each
            for each in self._all()
            if each.backlog is not None
            and not each.backlog.is_told
            and not each.backlog.is_under_way
        ]

    def begun(self) -> list[tuple[Subscription, Since]]:
        """Return the subscriptions whose backlog is told, or has been, and from where on."""
        return [
            (each, each.backlog.since)
            for each in self._all()
            if each.backlog is not None and (each.backlog.is_told or each.backlog.is_under_way)
        ]

    def matching(self, channel: bytes) -> list[Subscription]:
        """Return who listens to what is published on a channel, under whatever topic."""
        found = [*self.listeners(Channel(channel, False))]
        for pattern in self._patterns:
            if matches(pattern.name, channel):
                found += self.listeners(pattern)
        return found

    def restart_backlogs(self) -> None:
        """Nobody tells a backlog any more: the dispatcher that did so has ended."""
        for each in self._all():
            if each.backlog is not None:
                each.backlog.is_under_way = False

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
        self._note_change()

    def _all(self) -> list[Subscription]:
        with self._lock:
            return [each for held in self._listeners.values() for each in held]

    def _note_change(self) -> None:
        self._patterns = tuple(channel for channel in self._listeners if channel.is_pattern)
        self.version += 1


def _close(subscription: Subscription) -> None:
    if isinstance(subscription.receiver, AsyncReceiver):
        subscription.receiver.close()
