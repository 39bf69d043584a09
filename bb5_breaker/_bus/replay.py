"""Tells what stands in the histories, page by page, however much it is."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from bb5_breaker._bus.losses import missed_events
from bb5_breaker._bus.positions import Span
from bb5_breaker._bus.publications import Delivery
from bb5_breaker._bus.registry import Subscription
from bb5_breaker._bus.states import Counters
from bb5_breaker._store.entry_ids import EntryId
from bb5_breaker._store.event_log import Entry, EventLog
from bb5_breaker.events import Event
from bb5_breaker.exceptions import StoreError, StoreUnavailableError

__all__ = ["Replay", "Stretch"]

_log = logging.getLogger("bb5_breaker")
_SERVICES_AT_ONCE: Final = 100
_PAGE: Final = 100
_MOST_TOLD: Final = 10_000
_CUT: Final = "the history does not reach so far back"


_Line = tuple[EntryId, str, Entry]


@dataclass(slots=True)
class Stretch:
    """Parts of histories that are still to be told.

    Args:
        beginning: Beginning of the circuits' channels.
        spans: The parts by service id; what has been told is taken out.
        subscription: The only one to be told; None for all who listen.
    """

    beginning: bytes
    spans: dict[str, Span]
    subscription: Subscription | None = None


class Replay:
    """Reads stretches. Used by the dispatcher's thread alone.

    Args:
        log: The histories.
        counters: Where events are counted.
    """

    def __init__(self, log: EventLog, counters: Counters) -> None:
        self._events = log
        self._counters = counters
        self._complained = False
        # By event id, the latest that were told to all.
        self._told: dict[str, None] = {}

    def read(self, stretch: Stretch) -> Iterator[Delivery]:
        """Return what is to be told, in the order of each circuit.

        What was returned is taken out of the stretch, so that it can be read on after an error.

        Raises:
            StoreError: The server can not be reached; of a Cluster, when all is told that its
                other servers have.
        """
        away: dict[str, StoreUnavailableError] = {}
        while services := _first_of(stretch.spans, away):
            starts = {service: stretch.spans[service].start for service in services}
            pages: list[list[_Line]] = []
            ended: list[str] = []
            for service, entries in self._events.read_after(starts, _PAGE).items():
                if isinstance(entries, StoreUnavailableError):
                    away[service] = entries
                    continue
                if isinstance(entries, StoreError):
                    self._complain(entries)
                    ended.append(service)
                    continue
                end = stretch.spans[service].end
                pages.append([(each.entry_id, service, each) for each in entries])
                if len(entries) < _PAGE or entries[-1].entry_id >= end:
                    ended.append(service)
            for place, service, entry in heapq.merge(*pages, key=_place):
                if place <= stretch.spans[service].end:
                    yield from self._tell(stretch, service, entry)
            for service in ended:
                yield from self._finish(stretch, service)
        for error in away.values():
            raise error

    def _tell(self, stretch: Stretch, service: str, entry: Entry) -> Iterator[Delivery]:
        span, event = stretch.spans[service], entry.event
        if event is None:
            stretch.spans[service] = replace(span, start=entry.entry_id)
            return
        # Numbers begin at 0 with each life of a circuit: across two of them they tell nothing.
        is_same_life = span.epoch in ("", event.epoch)
        known = span.generation if is_same_life else None
        stretch.spans[service] = replace(
            span,
            start=entry.entry_id,
            generation=max(event.generation, known or 0),
            epoch=event.epoch,
        )
        if known is not None and event.generation > known + 1:
            yield self._tell_gap(stretch, service, event.generation - known - 1, event)
        if event.metadata.event_id not in span.skip and self._is_news(stretch, event):
            self._counters.replayed += 1
            yield _delivery(stretch, service, event)

    def _is_news(self, stretch: Stretch, event: Event) -> bool:
        """Return False for what an earlier stretch told to all.

        A history that lost its end is read again from further back: a replica that took over
        may lack it, and another clock goes on.
        """
        if stretch.subscription is not None:
            return True
        event_id = event.metadata.event_id
        if event_id in self._told:
            return False
        self._told[event_id] = None
        if len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]
        return True

    def _finish(self, stretch: Stretch, service: str) -> Iterator[Delivery]:
        span = stretch.spans.pop(service)
        if stretch.subscription is None and span.start < span.end:
            # The entry was there when the end was set, and is gone by now.
            yield self._tell_gap(stretch, service, 1, None)

    def _tell_gap(
        self, stretch: Stretch, service: str, missed: int, following: Event | None
    ) -> Delivery:
        self._counters.missed += missed
        channel = (stretch.beginning + service.encode()).decode()
        return _delivery(stretch, service, missed_events(channel, missed, _CUT, following))

    def _complain(self, error: StoreError) -> None:
        if not self._complained:
            self._complained = True
            _log.error("%s. What happened to it meanwhile can not be told", error.message)


def _first_of(spans: Iterable[str], away: Container[str]) -> list[str]:
    return list(islice((each for each in spans if each not in away), _SERVICES_AT_ONCE))


def _place(line: _Line) -> EntryId:
    return line[0]


def _delivery(stretch: Stretch, service: str, event: Event) -> Delivery:
    return Delivery(None, stretch.beginning + service.encode(), event, set())
