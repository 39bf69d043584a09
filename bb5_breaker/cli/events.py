"""The command events without --follow: what the histories of the fleet hold."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bb5_breaker._shell.history import read_events
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.cli.event_lines import EventPrinter
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.notes import note
from bb5_breaker.cli.places import no_match, where
from bb5_breaker.cli.reading import list_services
from bb5_breaker.events import CircuitEvent
from bb5_breaker.exceptions import StoreDataError

__all__ = ["list_events"]


def list_events(
    store: RedisStore, glob: str | None, since: str | None, limit: int, print_event: EventPrinter
) -> ExitCode:
    """Print transitions, the oldest first.

    Args:
        store: Where the circuits are.
        glob: Pattern of service ids, as in a shell; None for all.
        since: Id of the last event that is known, or "beginning"; None for the latest.
        limit: How many at the most.
        print_event: Prints one.

    Returns:
        How the command ends.

    Raises:
        CommandError: A pattern was given and matches no circuit.
        StoreError: The store could not be read.
    """
    services = list_services(store, glob)
    if glob is not None and not services:
        raise no_match(store, glob)
    events = _read(store, services, limit, since)
    for event in events:
        print_event(event)
    if not events:
        note(f"no transitions{'' if since is None else ' since then'} {where(store)}")
    elif since is not None and len(events) == limit:
        last = shlex.quote(events[-1].metadata.event_id)
        note(f"there may be more: go on with --since {last}, or raise --limit")
    return ExitCode.DONE


def _read(
    store: RedisStore, services: Sequence[str], limit: int, since: str | None
) -> list[CircuitEvent]:
    try:
        return read_events(store, services, limit, since)
    except StoreDataError:
        return read_events(store, _without_damaged(store, services), limit, since)


def _without_damaged(store: RedisStore, services: Sequence[str]) -> list[str]:
    """Return the services whose histories can be read: a damaged one hides no other."""
    sound = []
    for service in services:
        try:
            read_events(store, [service], 1, None)
            sound.append(service)
        except StoreDataError as error:
            note(error.message)
    return sound
