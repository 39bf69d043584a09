"""What a consumer of a group is told about the circuits' streams."""

from __future__ import annotations

from dataclasses import dataclass

from bb5_breaker._store.entry_ids import EntryId
from bb5_breaker._store.event_log import Entry

__all__ = ["Place", "Survey", "Taken"]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in one circuit's stream.

    Args:
        service: The circuit.
        entry_id: The place.
    """

    service: str
    entry_id: EntryId


@dataclass(frozen=True, slots=True)
class Taken:
    """An entry that this consumer has been given, and nobody else for now.

    Args:
        place: Where it stands.
        attempt: How often it has been given to anybody, this time included.
        entry: The entry; None when it is gone from the stream.
    """

    place: Place
    attempt: int
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to do.

    Args:
        news: Circuits with transitions that nobody has been given.
        pending: Circuits with such as somebody was given and has not acknowledged.
    """

    news: list[str]
    pending: list[str]
