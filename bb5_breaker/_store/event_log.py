"""The transitions of circuits as their streams keep them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bb5_breaker._store.entry_ids import EntryId
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.events import CircuitEvent, EventMetadata, EventType
from bb5_breaker.exceptions import StoreError
from bb5_breaker.state import CircuitState

__all__ = ["Entry", "EventLog", "Histories"]

_WHOLE: Final = re.compile(r"[0-9]{1,18}")
_TYPES: Final = {
    CircuitState.OPEN: EventType.CIRCUIT_OPENED,
    CircuitState.HALF_OPEN: EventType.CIRCUIT_HALF_OPEN,
    CircuitState.CLOSED: EventType.CIRCUIT_CLOSED,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a circuit's stream.

    Args:
        entry_id: Its id.
        event: The transition; None when the entry is none of ours.
    """

    entry_id: EntryId
    event: CircuitEvent | None


# By service id; of a damaged one, the error instead.
Histories = dict[str, list[Entry] | StoreError]


class EventLog:
    """Reads histories, of many circuits in one round trip. Thread-safe.

    Args:
        store: Where the circuits are.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._prefix = store.rules.prefix

    def read_after(self, starts: Mapping[str, EntryId], count: int) -> Histories:
        """Return the entries that follow a place in each history, oldest first.

        Args:
            starts: By service id, the last entry that is known.
            count: How many of each at the most.

        Raises:
            StoreError: The server can not be reached.
        """
        return self._read(
            {
                service: ("XRANGE", self._key(service), f"({start}", "+", "COUNT", count)
                for service, start in starts.items()
            }
        )

    def read_last(self, services: Iterable[str], count: int) -> Histories:
        """Return the latest entries of each history, oldest first.

        Args:
            services: Service ids.
            count: How many of each at the most.

        Raises:
            StoreError: The server can not be reached.
        """
        found = self._read(
            {
                service: ("XREVRANGE", self._key(service), "+", "-", "COUNT", count)
                for service in services
            }
        )
        for entries in found.values():
            if isinstance(entries, list):
                entries.reverse()
        return found

    def _key(self, service: str) -> bytes:
        return CircuitKeys.of(self._prefix, service).events

    def _read(self, commands: dict[str, tuple[Any, ...]]) -> Histories:
        replies = self._store.read_plain(list(commands.values()), "stream")
        return {
            service: reply
            if isinstance(reply, StoreError)
            else [self._entry(service, *entry) for entry in reply]
            for service, reply in zip(commands, replies, strict=True)
        }

    def _entry(self, service: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
        place = EntryId.parse(entry_id.decode())
        try:
            return Entry(place, _event_of(self._prefix, service, fields))
        except (ValueError, KeyError):
            return Entry(place, None)


def _event_of(prefix: str, service: str, fields: dict[bytes, bytes]) -> CircuitEvent:
    """Return the event exactly as the script that made the transition published it.

    Raises:
        KeyError, ValueError: The entry is none of ours.
    """
    known = {_text(name): _text(value) for name, value in fields.items()}
    state = CircuitState(known["state"])
    if known["service"] != service:
        raise ValueError("an entry of another circuit")
    metadata = EventMetadata(
        event_id=known["event_id"],
        event_type=_TYPES[state],
        timestamp=known["at"],
        priority="high",
        source=f"{prefix}.{service}",
    )
    data = {
        "service": service,
        "state": state.value,
        "failure_count": _whole(known["failure_count"]),
        "last_failure": known["last_failure"] or None,
        "previous_state": CircuitState(known["previous_state"]).value,
        "reason": known["reason"],
        "changed_by": known["changed_by"],
        "generation": _whole(known["generation"]),
        "epoch": known["epoch"],
        "last_error": known["last_error"],
        "open_until_ms": _whole(known["open_until_ms"]),
    }
    return CircuitEvent(metadata, data)


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
