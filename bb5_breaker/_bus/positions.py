"""How far the transitions of each circuit have been told. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from bb5_breaker._store.entry_ids import BEGINNING, EntryId
from bb5_breaker._store.event_log import Entry
from bb5_breaker.events import CircuitEvent

__all__ = ["News", "Position", "Span", "place_of"]

_MOST_REMEMBERED: Final = 128


class News(Enum):
    """What a message is, after what has been told already."""

    KNOWN = auto()
    NEXT = auto()
    GAP = auto()


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a circuit's history that is to be told.

    Args:
        start: The entry before its first one.
        end: Its last entry.
        skip: Event ids within it that have been told.
        generation: Of the last transition that was told; None when none is known.
        epoch: Likewise; empty when it does not matter.
    """

    start: EntryId
    end: EntryId
    skip: frozenset[str] = frozenset()
    generation: int | None = None
    epoch: str = ""


def place_of(event: CircuitEvent) -> EntryId | None:
    """Return where a transition that a script announced stands in its history.

    None for one that somebody else published: it stands nowhere.
    """
    place, colon, service = event.metadata.event_id.partition(":")
    if not event.epoch or not colon or service != event.service:
        return None
    try:
        return EntryId.parse(place)
    except ValueError:
        return None


@dataclass(slots=True)
class Position:
    """What has been told of one circuit, or will be before anything else is.

    Each transition is told once: it is known by its event id. In the common case a message
    carries the very next one, and nothing has to be read.

    Args:
        read_to: The history is known up to here.
    """

    read_to: EntryId
    # Of the last transition that was told.
    _generation: int = 0
    _epoch: str = ""
    _remembered: dict[str, EntryId] = field(default_factory=dict)

    @property
    def last_told(self) -> EntryId:
        """The place of the last transition that was told."""
        last = next(reversed(self._remembered.values()), BEGINNING)
        return max(self.read_to, last)

    def judge(self, event: CircuitEvent, place: EntryId) -> News:
        """Return what a message about the transition at a place is."""
        if event.metadata.event_id in self._remembered:
            return News.KNOWN
        if place <= self.read_to:
            # In a history that was lost and began anew, places may be lower again.
            is_later = event.epoch != self._epoch or event.generation > self._generation
            return News.GAP if is_later else News.KNOWN
        is_same_life = self._epoch in ("", event.epoch)
        is_next = is_same_life and event.generation == self._generation + 1
        return News.NEXT if is_next else News.GAP

    def tell(self, event: CircuitEvent, place: EntryId) -> None:
        """A transition is told by its message."""
        self._remember(event, place)

    def begin_at(self, last: Entry) -> None:
        """Take the last entry of a history of which nothing is to be told."""
        self.read_to = BEGINNING
        self.read(last)

    def read(self, last: Entry) -> Span | None:
        """Take the last entry of the history; return what of it is to be told."""
        end, event = last.entry_id, last.event
        if end == self.read_to:
            return None
        if event is not None and event.metadata.event_id == next(reversed(self._remembered), ""):
            # The last one that was told; one after the other, or there would have been a gap.
            self.read_to = end
            return None
        start, known = self.read_to, self._generation if self._epoch else None
        if end < start:
            # The history was lost, wholly or at its end, and another clock goes on with it.
            start, known = self._before(end), None
        span = Span(start, end, frozenset(self._remembered), known, self._epoch)
        self.read_to = end
        if event is not None:
            self._remember(event, end)
        return span

    def _before(self, end: EntryId) -> EntryId:
        """Return the oldest place that is remembered, when the history still reaches there."""
        oldest = min(self._remembered.values(), default=BEGINNING)
        return oldest if oldest <= end else BEGINNING

    def _remember(self, event: CircuitEvent, place: EntryId) -> None:
        self._remembered[event.metadata.event_id] = place
        self._generation, self._epoch = event.generation, event.epoch
        if len(self._remembered) > _MOST_REMEMBERED:
            oldest = self._remembered.pop(next(iter(self._remembered)))
            # Told, as all that came before it was; a place after this one is of a history that
            # was lost.
            if oldest <= place:
                self.read_to = max(self.read_to, oldest)
