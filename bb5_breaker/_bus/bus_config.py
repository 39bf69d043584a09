"""The settings of one event bus."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import redis as redis_py

from bb5_breaker._store.addresses import mask_url
from bb5_breaker._store.targets import open_like, open_url
from bb5_breaker.checks import check_seconds, check_whole
from bb5_breaker.service_id import check_prefix

__all__ = ["EMBEDDED_SCHEME", "EventBusConfig"]

EMBEDDED_SCHEME: Final = "embedded://"
_FORMATS: Final = ("msgpack", "json")
_BOUNDS: Final = {
    "timeout": (0.01, 60.0),
    "heartbeat_interval": (0.05, 60.0),
    "reconnect_delay": (0.001, 60.0),
    "max_reconnect_delay": (0.001, 3600.0),
    "close_timeout": (0.0, 60.0),
}


@dataclass(frozen=True, slots=True, repr=False)
class EventBusConfig:
    """Settings of an event bus; its repr shows no password.

    Args:
        url: As in :func:`~bb5_breaker.configure`; None takes what that set, else
            ``BB5_REDIS_URL``, else the embedded server.
        redis: A client whose server or Cluster is used, over connections of the bus's own; None
            for none.
        prefix: Beginning of the channels of circuits; None takes that of ``configure()``.
        event_format: Wire form of what is published, "msgpack" or "json"; None takes that of
            ``configure()``. Both are always read.
        queue_size: Deliveries, 1 to 1,000,000, that may wait for handlers; beyond that the oldest
            are dropped and counted.
        timeout: Seconds, 0.01 to 60, for connecting and for each reply.
        heartbeat_interval: Seconds, 0.05 to 60, between the bus's own PINGs, and for each answer:
            a dead connection is noticed within two of them.
        reconnect_delay: Seconds, 0.001 to 60, before the first attempt to reconnect; each further
            one waits about twice as long.
        max_reconnect_delay: Longest wait between attempts in seconds, up to 3600.
        close_timeout: Seconds, 0 to 60, that ``disconnect()`` waits for a running handler.
        keyspace_notifications: True to have Redis tell when an open period is over: flags that
            are missing in its setting ``notify-keyspace-events`` are added. False leaves the
            setting alone. Either way processes end open periods by the time they know.

    Raises:
        ValueError: A field is of the wrong type or out of bounds; the message names both.
        TypeError: ``redis`` is no synchronous client of a server or a Cluster.
    """

    url: str | None = None
    redis: redis_py.Redis | redis_py.RedisCluster | None = None
    prefix: str | None = None
    event_format: str | None = None
    queue_size: int = 1000
    timeout: float = 1.0
    heartbeat_interval: float = 1.0
    reconnect_delay: float = 0.05
    max_reconnect_delay: float = 5.0
    close_timeout: float = 2.0
    keyspace_notifications: bool = True

    def __post_init__(self) -> None:
        for field, (least, most) in _BOUNDS.items():
            seconds = check_seconds(field, getattr(self, field), least, most)
            object.__setattr__(self, field, seconds)
        if self.max_reconnect_delay < self.reconnect_delay:
            raise ValueError(
                f"max_reconnect_delay must be at least reconnect_delay, {self.reconnect_delay:g} "
                f"seconds, got {self.max_reconnect_delay:g}"
            )
        if not isinstance(self.keyspace_notifications, bool):
            raise ValueError(
                f"keyspace_notifications must be a bool, got {self.keyspace_notifications!r}"
            )
        check_whole("queue_size", self.queue_size, 1, 1_000_000)
        if self.prefix is not None:
            check_prefix(self.prefix)
        if self.event_format is not None and self.event_format not in _FORMATS:
            raise ValueError(f"event_format must be 'msgpack' or 'json', got {self.event_format!r}")
        self._check_target()

    def __repr__(self) -> str:
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.url is not None:
            shown["url"] = mask_url(self.url)
        if self.redis is not None:
            shown["redis"] = open_like(self.redis, self.timeout).address
        listed = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"EventBusConfig({listed})"

    @property
    def target(self) -> redis_py.Redis | redis_py.RedisCluster | str | None:
        """The client or URL that was given; None when neither was."""
        return self.url if self.url is not None else self.redis

    def _check_target(self) -> None:
        if self.url is not None and self.redis is not None:
            raise ValueError("give either url or redis, not both")
        if self.redis is not None:
            open_like(self.redis, self.timeout)
        if self.url is not None:
            _check_url(self.url, self.timeout)


def _check_url(url: Any, timeout: float) -> None:
    if not isinstance(url, str):
        raise ValueError(f"url must be a str, got {type(url).__name__}")
    if not url.startswith(EMBEDDED_SCHEME):
        open_url(url, timeout)
