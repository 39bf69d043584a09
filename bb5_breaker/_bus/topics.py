"""From the topics that users name to what is subscribed to in Redis."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from bb5_breaker._bus.globs import matches
from bb5_breaker._store.push.frames import Channel
from bb5_breaker.events import CircuitEvent, Event, EventType, Topics

__all__ = ["Interest", "Topic", "TopicKind", "name_channel"]

_MOST_CHARACTERS: Final = 512
_SPECIAL: Final = re.compile(rb"[*?\[\\]")
_FAMILY: Final = Topics.CIRCUIT_BREAKER_ALL.removesuffix("*")


class TopicKind(Enum):
    """What a topic stands for."""

    CHANNEL = auto()
    PATTERN = auto()
    CIRCUITS = auto()


@dataclass(frozen=True, slots=True)
class Interest:
    """What a subscriber wants to hear.

    Args:
        channel: What is subscribed to in Redis.
        own_name: The topic as a channel.
        circuits_only: True when of what comes over other channels only transitions are wanted.
    """

    channel: Channel
    own_name: bytes
    circuits_only: bool

    def accepts(self, channel: bytes, event: Event) -> bool:
        """Return True when this subscriber wants an event that came over a channel."""
        if not self.circuits_only or channel == self.own_name:
            return True
        stands_for_some = event.metadata.event_type is EventType.EVENTS_MISSED
        return isinstance(event, CircuitEvent) or stands_for_some

    def hears(self, channel: bytes) -> bool:
        """Return True when this subscriber hears what is published on a channel."""
        if not self.channel.is_pattern:
            return self.channel.name == channel
        return matches(self.channel.name, channel)

    def may_hear(self, beginning: bytes) -> bool:
        """Return False when it hears no channel whose name begins so."""
        name = self.channel.name
        if self.channel.is_pattern:
            name = _SPECIAL.split(name, maxsplit=1)[0][: len(beginning)]
            return beginning.startswith(name)
        return name.startswith(beginning)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as a user named it."""

    text: str
    kind: TopicKind

    @staticmethod
    def named(text: object) -> Topic:
        """Return the topic of ``subscribe()``: ``*`` makes a pattern of it.

        Raises:
            ValueError: It is no text of 1 to 512 characters.
        """
        topic = _check_text("topic", text)
        if topic == Topics.CIRCUIT_BREAKER_STATE:
            return Topic(topic, TopicKind.CIRCUITS)
        return Topic(topic, TopicKind.PATTERN if "*" in topic else TopicKind.CHANNEL)

    @staticmethod
    def pattern(text: object) -> Topic:
        r"""Return the topic of ``psubscribe()``: a glob pattern of Redis, ``* ? [ ] \``.

        Raises:
            ValueError: It is no text of 1 to 512 characters.
        """
        return Topic(_check_text("pattern", text), TopicKind.PATTERN)

    def resolve(self, prefix: str) -> Interest:
        """Return what this topic means for a fleet with that prefix."""
        own_name = _apply_prefix(self.text, prefix).encode()
        if self.kind is TopicKind.CIRCUITS:
            return Interest(Channel(f"{prefix}.*".encode(), True), own_name, True)
        return Interest(Channel(own_name, self.kind is TopicKind.PATTERN), own_name, False)


def name_channel(topic: object, prefix: str) -> str:
    """Return the channel to publish on.

    Raises:
        ValueError: The topic is no text of 1 to 512 characters, or is a pattern.
    """
    text = _check_text("topic", topic)
    if "*" in text:
        raise ValueError(f"topic {text!r} is a pattern; name one channel to publish on")
    return _apply_prefix(text, prefix)


def _apply_prefix(text: str, prefix: str) -> str:
    """Let ``circuit_breaker.`` stand for the fleet's own prefix.

    So code written with :class:`Topics` hears its fleet under any prefix. A name that has the
    prefix already, such as a handler is given, is taken as it is.
    """
    if text.startswith(f"{prefix}.") or not text.startswith(_FAMILY):
        return text
    return f"{prefix}.{text.removeprefix(_FAMILY)}"


def _check_text(field: str, text: object) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{field} must be a str, got {type(text).__name__}")
    if not 1 <= len(text) <= _MOST_CHARACTERS:
        raise ValueError(f"{field} must have 1 to {_MOST_CHARACTERS} characters, got {len(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{field} {text!r} has half a surrogate pair, not text") from None
    return text
