"""Sees to it that each transition is told once, in order, and that none is missed."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from bb5_breaker._bus.positions import News, Position, Span, place_of
from bb5_breaker._bus.publications import Delivery
from bb5_breaker._bus.registry import Registry, Subscription
from bb5_breaker._bus.replay import Stretch
from bb5_breaker._bus.states import Counters
from bb5_breaker._bus.stragglers import Stragglers
from bb5_breaker._bus.topics import Interest
from bb5_breaker._bus.watch import Watch
from bb5_breaker._store.entry_ids import BEGINNING, EntryId, Since
from bb5_breaker._store.event_log import Entry, EventLog, Histories
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.events import CircuitEvent
from bb5_breaker.exceptions import StoreError, StoreUnavailableError

__all__ = ["Follower"]

_log = logging.getLogger("bb5_breaker")


class Follower:
    """Compares what is pushed with the circuits' histories, and finds out what was not pushed.

    A message is lost with its connection, and says nothing about those before it; the history
    has all of them. Here only its last entry is looked at; what is to be told of it is read by
    whoever tells it. Used by the feed's thread alone.

    Args:
        store: Where the circuits are.
        registry: Who listens, which says what circuits are to be followed.
        watch: Told of open circuits.
        counters: Where publications are counted.
    """

    def __init__(
        self, store: RedisStore, registry: Registry, watch: Watch, counters: Counters
    ) -> None:
        self._store = store
        self._log = EventLog(store)
        self._registry = registry
        self._watch = watch
        self._counters = counters
        self._beginning = f"{store.rules.prefix}.".encode()
        self._positions: dict[str, Position] = {}
        self._covered: set[Interest] = set()
        # A circuit that is not listed yet came to be later than this, by the server's clock.
        self._followed_from = BEGINNING
        self._complained = False
        self._behind = Stragglers()

    def cover(self) -> None:
        """Follow the circuits that subscribers hear by now, from here on.

        To be called before Redis is asked for the subscriptions: then nothing falls between.

        Raises:
            StoreError: The server can not be reached.
        """
        interests = self._interests()
        heard = self._services_of(interests)
        # Not those that are only missing in the list: it is written a moment later.
        for service in [name for name in self._positions if not self._is_heard(name, interests)]:
            del self._positions[service]
        if interests and self._followed_from == BEGINNING:
            self._followed_from = EntryId(self._watch.begin() or 0, 0)
        # One that was heard already but is not known came to be since; of it all is news.
        news = self._services_of([each for each in interests if each in self._covered])
        self._covered = set(interests)
        for service, entries in self._log.read_last(
            heard - news - self._positions.keys(), 1
        ).items():
            position = self._position_of(service)
            if isinstance(entries, StoreError):
                self._complain(entries)
            elif entries:
                position.begin_at(entries[-1])
                self._watch_over(entries[-1])

    def catch_up(self) -> list[Stretch]:
        """Return what happened while nothing was heard.

        Raises:
            StoreError: The server can not be reached.
        """
        interests = self._interests()
        if not interests:
            return []
        self._watch.begin()
        self._behind.take_all()
        return self._catch_up_with(self._services_of(interests) | self._positions.keys())

    def catch_up_rest(self) -> list[Stretch]:
        """Return what happened to circuits that could not be looked at; for each turn.

        Raises:
            StoreError: No server can be reached.
        """
        services = self._behind.take_due()
        return self._catch_up_with(services) if services else []

    def take(self, event: CircuitEvent, place: EntryId) -> list[Delivery | Stretch]:
        """Return what is to be told after the message about a transition.

        Raises:
            StoreError: The server can not be reached.
        """
        # Before its first transition there is nothing to look for.
        earlier = self._earlier([event.service]) if event.generation > 1 else []
        found = self._follow(event, place)
        return [*earlier] if found is None else [*earlier, found]

    def _follow(self, event: CircuitEvent, place: EntryId) -> Delivery | Stretch | None:
        position = self._position_of(event.service)
        news = position.judge(event, place)
        if news is News.KNOWN:
            return None
        if news is News.NEXT:
            return self._tell(event, place)
        last = self._log.read_last([event.service], 1)
        found = self._advance(last)
        span = found.spans[event.service] if found is not None else None
        is_covered = span is not None and span.start < place <= span.end
        if is_covered or position.judge(event, place) is News.KNOWN:
            return found
        if event.service in self._behind:
            # Told with all that came before it.
            return found
        if isinstance(last[event.service], StoreError):
            # Where the history can not be read the message is believed; where it can and does
            # not have the transition, it is left out.
            return self._tell(event, place)
        self._counters.malformed += 1
        return found

    def backlog_of(self, subscription: Subscription, since: Since) -> list[Stretch]:
        """Return what one subscriber is to be told of before, up to what all are told from now."""
        wanted = [subscription.interest]
        known = {service for service in self._positions if self._is_heard(service, wanted)}
        services = known | self._services_of(wanted)
        return [*self._earlier(services), self._backlog(subscription, since, services)]

    def _catch_up_with(self, services: set[str]) -> list[Stretch]:
        last = self._log.read_last(services, 1)
        earlier = self._earlier(services)
        found = self._advance(last)
        return earlier if found is None else [*earlier, found]

    def _earlier(self, services: Iterable[str]) -> list[Stretch]:
        """Return what was missing in the backlogs of subscribers, of circuits met only now.

        A circuit is listed a moment after its first transition, and a subscriber may read the
        list in between.
        """
        met = [service for service in services if service not in self._positions]
        stretches = []
        for subscription, since in self._registry.begun() if met else ():
            wanted = [subscription.interest]
            heard = [service for service in met if self._is_heard(service, wanted)]
            if heard:
                stretches.append(self._backlog(subscription, since, heard))
        return stretches

    def _backlog(
        self, subscription: Subscription, since: Since, services: Iterable[str]
    ) -> Stretch:
        spans = {}
        for service in services:
            start = since.place_in(service)
            known = start.number if since.service == service else None
            spans[service] = Span(start, self._position_of(service).last_told, generation=known)
        return Stretch(self._beginning, spans, subscription)

    def place_in_history(self, channel: bytes, event: object) -> EntryId | None:
        """Return the place of a transition that a script announced; None for all else."""
        if not isinstance(event, CircuitEvent):
            return None
        return place_of(event) if channel == self._beginning + event.service.encode() else None

    def _advance(self, last: Histories) -> Stretch | None:
        """Move to the last entries of histories; return what lies between, None for nothing."""
        spans: dict[str, Span] = {}
        for service, entries in last.items():
            position = self._position_of(service)
            if isinstance(entries, StoreUnavailableError):
                self._behind.add(service)
            elif isinstance(entries, StoreError):
                self._complain(entries)
            elif entries and (span := position.read(entries[-1])) is not None:
                spans[service] = span
                self._watch_over(entries[-1])
        return Stretch(self._beginning, spans) if spans else None

    def _tell(self, event: CircuitEvent, place: EntryId) -> Delivery:
        self._position_of(event.service).tell(event, place)
        return Delivery(None, self._beginning + event.service.encode(), event, set())

    def _position_of(self, service: str) -> Position:
        position = self._positions.get(service)
        if position is None:
            position = self._positions[service] = Position(self._followed_from)
        return position

    def _interests(self) -> list[Interest]:
        return [each for each in self._registry.interests() if each.may_hear(self._beginning)]

    def _services_of(self, interests: Iterable[Interest]) -> set[str]:
        patterns = [each for each in interests if each.channel.is_pattern]
        start = len(self._beginning)
        heard = {
            each.channel.name[start:].decode(errors="replace")
            for each in interests
            if not each.channel.is_pattern
        }
        if patterns:
            heard.update(service for service in self._listed() if self._is_heard(service, patterns))
        return heard

    def _is_heard(self, service: str, interests: Iterable[Interest]) -> bool:
        channel = self._beginning + service.encode()
        return any(each.hears(channel) for each in interests)

    def _listed(self) -> list[str]:
        try:
            return self._store.list_services()
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self._complain(error)
            return list(self._positions)

    def _watch_over(self, last: Entry) -> None:
        if last.event is not None:
            self._watch.note(last.event)

    def _complain(self, error: StoreError) -> None:
        if not self._complained:
            self._complained = True
            _log.error(
                "%s. Until then the event bus tells what is pushed, and can not make good what "
                "it misses",
                error.message,
            )
