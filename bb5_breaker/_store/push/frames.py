"""What Redis sends over a connection in subscribed mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.exceptions import InvalidResponse, ResponseError

__all__ = ["Channel", "Confirmation", "Frame", "Message", "Pong", "Refusal", "read_frame"]


@dataclass(frozen=True, slots=True)
class Channel:
    """One subscription of a connection: a channel of Redis, or a glob pattern of channels."""

    name: bytes
    is_pattern: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A publication as it came through one subscription.

    Args:
        via: The subscription.
        channel: The channel on which it was published.
        payload: What was published.
    """

    via: Channel
    channel: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The answer to SUBSCRIBE, PSUBSCRIBE, or their opposites."""

    channel: Channel
    joins: bool


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to PING."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error in the place of an answer."""

    error: ResponseError


Frame = Message | Confirmation | Pong | Refusal


def read_frame(reply: Any) -> Frame:
    """Return what a reply means.

    Raises:
        InvalidResponse: Nothing that was asked is answered so.
    """
    match reply:
        case [b"message", bytes(channel), bytes(payload)]:
            return Message(Channel(channel, False), channel, payload)
        case [b"pmessage", bytes(pattern), bytes(channel), bytes(payload)]:
            return Message(Channel(pattern, True), channel, payload)
        case [b"subscribe" | b"unsubscribe" as verb, bytes(name), int()]:
            return Confirmation(Channel(name, False), verb == b"subscribe")
        case [b"psubscribe" | b"punsubscribe" as verb, bytes(name), int()]:
            return Confirmation(Channel(name, True), verb == b"psubscribe")
        case [b"pong", _] | b"PONG":
            return Pong()
        case _:
            raise InvalidResponse(f"unexpected reply of {type(reply).__name__} to a subscriber")
