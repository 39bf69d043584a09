"""What is read only for people: the transitions of a circuit and its running probes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.exceptions import StoreError

__all__ = ["Probe", "Transition", "read_history", "read_probes"]

_WHOLE = re.compile(r"[0-9]{1,18}\Z")
# The last second of the year 9999: a foreign score may be infinite.
_END_OF_TIME_MS = 253_402_300_799_000


@dataclass(frozen=True, slots=True)
class Transition:
    """One entry of a circuit's stream. All text is as stored: it may be anything.

    Args:
        entry_id: Id of the entry in the stream.
        at: ISO time in UTC on the server's clock.
        state: State that was entered.
        previous_state: State that was left.
        generation: Number of the state entered; None when the entry is not one of ours.
        reason: Why.
        changed_by: Process that made it, ``host:pid:nonce``.
        failure_count: Consecutive failures; None when the entry is not one of ours.
        last_error: Class name of the last counted error.
    """

    entry_id: str
    at: str
    state: str
    previous_state: str
    generation: int | None
    reason: str
    changed_by: str
    failure_count: int | None
    last_error: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe that runs now.

    Args:
        token: Name of its place: the process that runs it, and a number.
        lease_until_ms: End of its lease on the server's clock.
    """

    token: str
    lease_until_ms: int


def read_history(store: RedisStore, service: str, limit: int) -> list[Transition]:
    """Return the latest transitions of a circuit, the newest first.

    Args:
        store: Where the circuit is.
        service: A checked service id.
        limit: How many at the most, at least 1.

    Raises:
        StoreError: The store could not be read.
    """
    key = CircuitKeys.of(store.rules.prefix, service).events
    entries = _read(store, ("XREVRANGE", key, "+", "-", "COUNT", limit), "stream")
    return [_transition(entry_id, fields) for entry_id, fields in entries]


def read_probes(store: RedisStore, service: str, now_ms: int) -> list[Probe]:
    """Return the probes of a circuit whose leases have not ended, the most urgent first.

    Args:
        store: Where the circuit is.
        service: A checked service id.
        now_ms: Time of the server's clock.

    Raises:
        StoreError: The store could not be read.
    """
    key = CircuitKeys.of(store.rules.prefix, service).probes
    words = ("ZRANGEBYSCORE", key, f"({now_ms}", "+inf", "WITHSCORES")
    leases = _read(store, words, "zset")
    return [
        Probe(_text(token), int(min(float(end), _END_OF_TIME_MS)))
        for token, end in zip(leases[::2], leases[1::2], strict=True)
    ]


def _read(store: RedisStore, words: tuple[Any, ...], key_type: str) -> Any:
    (reply,) = store.read_plain([words], key_type)
    if isinstance(reply, StoreError):
        raise reply
    return reply


def _transition(entry_id: bytes, fields: dict[bytes, bytes]) -> Transition:
    known = {_text(name): _text(value) for name, value in fields.items()}
    return Transition(
        entry_id=_text(entry_id),
        at=known.get("at", ""),
        state=known.get("state", ""),
        previous_state=known.get("previous_state", ""),
        generation=_number(known.get("generation")),
        reason=known.get("reason", ""),
        changed_by=known.get("changed_by", ""),
        failure_count=_number(known.get("failure_count")),
        last_error=known.get("last_error", ""),
    )


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _WHOLE.match(text) else None
