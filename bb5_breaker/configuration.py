"""Process-wide settings: which Redis, and the rules that hold for all its circuits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

import redis as redis_py

from bb5_breaker._core.policy import StoreRules
from bb5_breaker._shell.consistency import Consistency
from bb5_breaker._shell.link import Link
from bb5_breaker._shell.pace import Pace
from bb5_breaker._shell.store_failure import OnStoreFailure
from bb5_breaker._store.forks import ForkSafeLock
from bb5_breaker._store.opening import Target, open_store
from bb5_breaker.checks import check_seconds, check_whole
from bb5_breaker.service_id import check_prefix

__all__ = ["IN_FORCE", "Settings", "configure", "current_settings", "open_link"]

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
    history_age: float = 604_800.0
    event_format: str = "msgpack"
    consistency: Consistency = Consistency.CACHED
    flush_interval: float = 0.1
    flush_size: int = 100_000
    heartbeat_interval: float = 1.0
    on_store_failure: OnStoreFailure = OnStoreFailure.LOCAL

    @property
    def pace(self) -> Pace:
        """How often the process does what it does in the background."""
        return Pace(
            self.store_retry_interval,
            self.flush_interval,
            self.flush_size,
            self.heartbeat_interval,
        )

    @property
    def rules(self) -> StoreRules:
        """The rules of the store in the units of the wire."""
        return StoreRules(
            self.prefix,
            int(self.idle_ttl * 1000),
            self.history_limit,
            int(self.history_age * 1000),
            self.event_format,
        )


class _InForce:
    """Holds the settings in force, for those who look at each call."""

    __slots__ = ("settings",)

    def __init__(self) -> None:
        self.settings = Settings()


IN_FORCE: Final = _InForce()
_lock = ForkSafeLock()
# By the id of the store, which its link keeps alive.
_links: WeakValueDictionary[tuple[int, Pace], Link] = WeakValueDictionary()


def configure(
    url: str | None = None,
    *,
    redis: redis_py.Redis | redis_py.RedisCluster | None = None,
    prefix: str = "circuit_breaker",
    store_timeout: float = 0.1,
    store_retry_interval: float = 1.0,
    idle_ttl: float = 86_400.0,
    history_limit: int = 256,
    history_age: float = 604_800.0,
    event_format: str = "msgpack",
    consistency: str = "cached",
    flush_interval: float = 0.1,
    flush_size: int = 100_000,
    heartbeat_interval: float = 1.0,
    on_store_failure: str = "local",
) -> Settings:
    """Set where the circuits of this process live. Thread-safe; breakers follow at once.

    Each call sets everything anew: what is not named gets its default. Calls that run meanwhile
    may go uncounted.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://``, ``redis+cluster://``,
            ``rediss+cluster://`` or ``embedded://``; None leaves it to ``redis``, else to
            ``BB5_REDIS_URL``, else to the embedded server.
        redis: A client whose server or Cluster is used, over connections of our own; None for none.
        prefix: Beginning of the names of keys and channels, 1 to 64 of ``A-Z a-z 0-9 _ . : -``.
        store_timeout: Seconds for connecting and for each reply, 0.001 to 60.
        store_retry_interval: Seconds between attempts while the store is down, 0.01 to 3600.
        idle_ttl: Seconds after which an unused circuit may expire, 1 to one year.
        history_limit: Transitions kept for each circuit, about; 1 to 1,000,000.
        history_age: Seconds for which they are kept, 1 to ten years, and no longer than the circuit
            is; older ones are dropped at its next transition.
        event_format: Wire form of the events, "msgpack" or "json".
        consistency: "cached": calls go by what this process knows of the circuit, which is
            pushed to it, and ask only while half-open or when that may be out of date.
            "strict": each call asks the store before and reports after, two round trips.
        flush_interval: Seconds, 0.001 to 60, between reports of the successes and rejections that
            gather in the process. A failure is reported at once, with the successes before it.
        flush_size: Outcomes of one circuit, 1 to 1,000,000, that are reported sooner.
        heartbeat_interval: Seconds, 0.05 to 60, between signs of life on the connection over which
            transitions are pushed; when one is overdue, calls ask, within two intervals.
        on_store_failure: What calls get while the store does not answer. "local": this process
            guards them alone, by the same rules, from what it knew last, and tells the store
            what it counted when it is back. "open": all are rejected. "closed": all run.
            "raise": they raise a :class:`~bb5_breaker.StoreError` and do not run.

    Returns:
        The settings now in force.

    Raises:
        ValueError: A value is malformed or out of bounds; nothing is changed.
        TypeError: ``redis`` is no synchronous client of a server or a Cluster.
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
        history_age=check_seconds("history_age", history_age, 1.0, 3660 * 86_400.0),
        event_format=event_format,
        consistency=Consistency.named(consistency),
        flush_interval=check_seconds("flush_interval", flush_interval, 0.001, 60.0),
        flush_size=check_whole("flush_size", flush_size, 1, 1_000_000),
        heartbeat_interval=check_seconds("heartbeat_interval", heartbeat_interval, 0.05, 60.0),
        on_store_failure=OnStoreFailure.named(on_store_failure),
    )
    if settings.target is not None and settings.target != "embedded://":
        open_store(settings.target, settings.rules, settings.store_timeout)
    _set(settings)
    return settings


def current_settings() -> Settings:
    """Return the settings now in force."""
    return IN_FORCE.settings


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
        place = (id(store), settings.pace)
        link = _links.get(place)
        if link is None:
            link = _links[place] = Link(store, settings.pace)
        return link


def _set(settings: Settings) -> None:
    IN_FORCE.settings = settings
    # Only now: a breaker that is sent here looks at the settings again.
    with _lock.lock:
        links = list(_links.values())
    for link in links:
        link.board.disarm()
