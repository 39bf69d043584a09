"""The command events with --follow: what happens in the fleet, as it happens."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final, NoReturn

from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.cli.event_lines import EventPrinter
from bb5_breaker.cli.handover import Handover
from bb5_breaker.cli.notes import log_as_notes
from bb5_breaker.cli.output import drop_output, has_reader
from bb5_breaker.cli.reading import is_wanted
from bb5_breaker.configuration import configure
from bb5_breaker.event_bus import EventBusConfig, RedisEventBus
from bb5_breaker.events import CircuitEvent, Event, EventType

__all__ = ["follow_events"]

# Seconds after which a reader that went away is noticed while nothing happens.
_LOOK_INTERVAL: Final = 1.0


def follow_events(
    store: RedisStore, glob: str | None, since: str, print_event: EventPrinter
) -> NoReturn:
    """Print transitions as they happen, until interrupted.

    Args:
        store: Where the circuits are.
        glob: Pattern of service ids, as in a shell; None for all.
        since: "now"; or "beginning" or the id of an event, to begin with what happened since.
        print_event: Prints one.

    Raises:
        KeyboardInterrupt: The user has seen enough.
        BrokenPipeError: So has who reads the output.
        StoreError, EventBusError: The store could not be read at the beginning; later it is
            told on stderr when the connection is lost.
    """
    # What is wrong with the server is told in the words of all commands, not in those of a bus.
    store.list_services()
    prefix = store.rules.prefix
    handover = Handover()

    def hear(topic: str, event: Event) -> None:
        if _is_wanted(prefix, glob, topic, event):
            handover.put(event)

    bus = _make_bus(store)
    with log_as_notes(), bus, closing(handover):
        bus.subscribe(f"{prefix}.*", hear, since)
        _print_all(handover, print_event)


def _make_bus(store: RedisStore) -> RedisEventBus:
    rules = store.rules
    # Our own client leads there as well as a user's.
    client: Any = store.client
    # A bus ends open periods when they are due, as all processes that hear of them do: it must
    # not cut histories in doing so. And who only looks changes no setting of the server.
    configure(
        redis=client,
        prefix=rules.prefix,
        history_limit=rules.history,
        history_age=rules.history_ms / 1000,
    )
    return RedisEventBus(EventBusConfig(keyspace_notifications=False))


def _print_all(handover: Handover, print_event: EventPrinter) -> NoReturn:
    try:
        while True:
            event = handover.take(_LOOK_INTERVAL)
            if event is not None:
                print_event(event)
            elif not has_reader():
                raise BrokenPipeError("nobody reads the output")
    except KeyboardInterrupt:
        # The reader may sleep with the pipe full.
        drop_output()
        raise


def _is_wanted(prefix: str, glob: str | None, topic: str, event: Event) -> bool:
    if isinstance(event, CircuitEvent):
        # Channels of a fleet whose prefix goes on from this one begin likewise.
        return topic == f"{prefix}.{event.service}" and is_wanted(event.service, glob)
    if event.metadata.event_type is not EventType.EVENTS_MISSED:
        return False
    service = event.data.get("service")
    return not isinstance(service, str) or is_wanted(service, glob)
