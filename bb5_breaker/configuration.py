"""Process-wide settings: which Redis, and the rules that hold for all its circuits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

import redis as redis_py

from bb5_breaker._core.policy import StoreRules
from bb5_breaker._shell.link import Link
from bb5_breaker._store.forks import ForkSafeLock
from bb5_breaker._store.opening import Target, open_store
from bb5_breaker.checks import check_seconds, check_whole
from bb5_breaker.service_id import check_prefix

__all__ = ["Settings", "configure", "current_settings", "open_link"]

_FORMATS: Final = ("msgpack", "json")


@dataclass(frozen=True, slots=True)
class Settings:
    """What :func:`configure` sets; see there."""

    target: Target = field(default=None, repr=False)
    prefix: str = "circuit_breaker"
    store_timeout: float = 0.1
    store_retry_interval: float = 1.0
    idle_ttl: float = 86_400.0
    history_limit: int = 256
    event_format: str = "msgpack"

    @property
    def rules(self) -> StoreRules:
        """The rules of the store in the units of the wire."""
        return StoreRules(
            self.prefix, int(self.idle_ttl * 1000), self.history_limit, self.event_format
        )


_settings = Settings()
_lock = ForkSafeLock()
# By the id of the store, which its link keeps alive.
_links: WeakValueDictionary[int, Link] = WeakValueDictionary()


def configure(
    url: str | None = None,
    *,
    redis: redis_py.Redis | None = None,
    prefix: str = "circuit_breaker",
    store_timeout: float = 0.1,
    store_retry_interval: float = 1.0,
    idle_ttl: float = 86_400.0,
    history_limit: int = 256,
    event_format: str = "msgpack",
) -> Settings:
    """Set where the circuits of this process live. Thread-safe; breakers follow at once.

    Each call sets everything anew: what is not named gets its default.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``embedded://``; None leaves it to
            ``redis``, else to ``BB5_REDIS_URL``, else to the embedded server.
        redis: A client whose server is used, over connections of our own; None for none.
        prefix: Beginning of the names of keys and channels, 1 to 64 of ``A-Z a-z 0-9 _ . : -``.
        store_timeout: Seconds for connecting and for each reply, 0.001 to 60.
        store_retry_interval: Seconds between attempts while the store is down, 0.01 to 3600.
        idle_ttl: Seconds after which an unused circuit may expire, 1 to one year.
        history_limit: Transitions kept for each circuit, about; 1 to 1,000,000.
        event_format: Wire form of the events, "msgpack" or "json".

    Returns:
        The settings now in force.

    Raises:
        ValueError: A value is malformed or out of bounds; nothing is changed.
        TypeError: ``redis`` is no synchronous single-server client.
    """
    if url is not None and redis is not None:
        raise ValueError("give either url or redis, not both")
    if url is not None and not isinstance(url, str):
        raise ValueError(f"url must be a str, got {type(url).__name__}")
    if event_format not in _FORMATS:
        raise ValueError(f"event_format must be 'msgpack' or 'json', got {event_format!r}")
    settings = Settings(
        target=url if url is not None else redis,
        prefix=check_prefix(prefix),
        store_timeout=check_seconds("store_timeout", store_timeout, 0.001, 60.0),
        store_retry_interval=check_seconds(
            "store_retry_interval", store_retry_interval, 0.01, 3600.0
        ),
        idle_ttl=check_seconds("idle_ttl", idle_ttl, 1.0, 366 * 86_400.0),
        history_limit=check_whole("history_limit", history_limit, 1, 1_000_000),
        event_format=event_format,
    )
    if settings.target is not None and settings.target != "embedded://":
        open_store(settings.target, settings.rules, settings.store_timeout)
    _set(settings)
    return settings


def current_settings() -> Settings:
    """Return the settings now in force."""
    return _settings


def open_link(settings: Settings, target: Target) -> Link:
    """Return the way to a store; one for all breakers that use it.

    Args:
        settings: Settings to use.
        target: A breaker's own client or URL; None takes the settings'.

    Returns:
        The link; a Redis is not connected before its first command.

    Raises:
        ValueError: The URL is malformed.
    """
    store = open_store(
        target if target is not None else settings.target, settings.rules, settings.store_timeout
    )
    with _lock.lock:
        link = _links.get(id(store))
        if link is None:
            link = _links[id(store)] = Link(store, settings.store_retry_interval)
        return link


def _set(settings: Settings) -> None:
    global _settings
    _settings = settings
