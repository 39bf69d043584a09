"""Transitions that happened, of one circuit or of the whole fleet."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from bb5_breaker._store.entry_ids import EntryId, Since
from bb5_breaker._store.event_log import Entry, EventLog, Histories
from bb5_breaker._store.interface import Store
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.checks import check_whole
from bb5_breaker.events import CircuitEvent
from bb5_breaker.exceptions import StoreError

__all__ = ["read_events"]

_MOST: Final = 1_000_000
# Entries held at once; a fleet may have ten thousand circuits.
_AT_ONCE: Final = 20_000


def read_events(
    store: Store, services: Sequence[str], limit: int, since: str | None
) -> list[CircuitEvent]:
    """Return transitions in the order of time, those of one circuit in their own.

    Args:
        store: Where the circuits are.
        services: Checked service ids.
        limit: How many at the most, 1 to 1,000,000: the latest, or those next after ``since``.
        since: Id of the last event that is known; None for the latest.

    Raises:
        ValueError: An argument is malformed.
        StoreError: A history could not be read.
    """
    check_whole("limit", limit, 1, _MOST)
    start = None if since is None else Since.parse(since)
    if since is not None and start is None:
        raise ValueError("since must be 'beginning' or the id of an event: nothing follows 'now'")
    if not isinstance(store, RedisStore):
        raise StoreError(
            f"{store.address} keeps no history; name a Redis with BB5_REDIS_URL or "
            "bb5_breaker.configure(url=...), or install 'bb5-breaker[embedded]'"
        )
    log = EventLog(store)
    kept: list[tuple[EntryId, CircuitEvent]] = []
    step = max(1, _AT_ONCE // limit)
    for first in range(0, len(services), step):
        part = services[first : first + step]
        if start is None:
            found = log.read_last(part, limit)
        else:
            found = log.read_after({name: start.place_in(name) for name in part}, limit)
        kept = _merge(kept, found)
        kept = kept[-limit:] if start is None else kept[:limit]
    return [event for _, event in kept]


def _merge(
    kept: list[tuple[EntryId, CircuitEvent]], found: Histories
) -> list[tuple[EntryId, CircuitEvent]]:
    parts = [kept]
    for entries in found.values():
        if isinstance(entries, StoreError):
            raise entries
        parts.append(_events(entries))
    return list(heapq.merge(*parts, key=lambda pair: pair[0]))


def _events(entries: list[Entry]) -> list[tuple[EntryId, CircuitEvent]]:
    return [(entry.entry_id, entry.event) for entry in entries if entry.event is not None]
