"""Which keys a fleet has on a server, and what each should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from bb5_breaker._doctor.patient import Patient
from bb5_breaker._store.keys import CircuitKeys, group_key, registry_key
from bb5_breaker.exceptions import StoreError
from bb5_breaker.service_id import check_service_id

__all__ = ["CircuitList", "Holding", "holdings_of", "inspect", "owner_of", "read_list", "scan_keys"]

_KINDS: Final = ("hash", "zset", "zset", "string", "stream", "string")
_A_SCAN: Final = 1000
_SCANS: Final = 200


@dataclass(frozen=True, slots=True)
class CircuitList:
    """The list of circuits.

    Args:
        services: Ids in it, sorted.
        foreign: Members that are no ids.
    """

    services: list[str]
    foreign: list[bytes]


@dataclass(frozen=True, slots=True)
class Holding:
    """A key, and what it should hold.

    Args:
        name: The key.
        kind: In the words of ``TYPE``.
        found: What it holds; "none" when it is not there.
        ttl_ms: Milliseconds that it has to live, -1 for ever; the error when it is not told.
    """

    name: bytes
    kind: str
    found: str
    ttl_ms: int | StoreError

    @property
    def is_foreign(self) -> bool:
        """True when it holds something else."""
        return self.found not in (self.kind, "none")


def read_list(patient: Patient) -> CircuitList:
    """Read the list of circuits.

    Raises:
        StoreError: It can not be read.
    """
    key = registry_key(patient.rules.prefix)
    (members,) = _all_or_error(patient, [(key, (b"ZRANGE", key, 0, -1))], "zset")
    services, foreign = [], []
    for member in members:
        service = _service(member)
        if service is None:
            foreign.append(member)
        else:
            services.append(service)
    return CircuitList(sorted(services), foreign)


def scan_keys(patient: Patient) -> Iterator[bytes]:
    """Find the keys that begin as the fleet's do; a bounded number of looks.

    Raises:
        StoreError: This user may not look for keys.
    """
    cursor: Any = 0
    for _ in range(_SCANS):
        words = ("MATCH", f"{patient.rules.prefix}:*", "COUNT", _A_SCAN)
        cursor, found = patient.ask(b"SCAN", cursor, *words)
        yield from found
        if int(cursor) == 0:
            return


def holdings_of(patient: Patient, services: Iterable[str]) -> list[tuple[bytes, str]]:
    """Return the keys of circuits, and of the list, each with what it should hold."""
    prefix = patient.rules.prefix
    keys = [(registry_key(prefix), "zset")]
    for service in services:
        own = CircuitKeys.of(prefix, service)
        keys += zip((*own.all, own.forgotten), _KINDS, strict=True)
    return keys


def inspect(patient: Patient, keys: list[tuple[bytes, str]]) -> list[Holding]:
    """Look at what keys hold.

    Raises:
        StoreError: This user may not ask for the types of keys.
    """
    types = _all_or_error(patient, [(key, (b"TYPE", key)) for key, _ in keys], "none")
    lives = patient.store.run_plain([(key, (b"PTTL", key)) for key, _ in keys], "none")
    return [
        Holding(key, kind, found.decode(), life)
        for (key, kind), found, life in zip(keys, types, lives, strict=True)
    ]


def owner_of(patient: Patient, key: bytes) -> tuple[str | None, str] | None:
    """Return the circuit that a key belongs to, and what the key should hold; None if unknown."""
    prefix = f"{patient.rules.prefix}:".encode()
    if key.startswith(group_key(patient.rules.prefix, "")):
        return None, "string"
    begin, brace, rest = key.removeprefix(prefix).partition(b"{")
    name, end, suffix = rest.partition(b"}")
    service = _service(name)
    if begin or not brace or not end or service is None:
        return None
    if suffix.startswith(b":sender:"):
        return service, "string"
    kinds = dict(holdings_of(patient, [service]))
    return (service, kinds[key]) if key in kinds else None


def _all_or_error(
    patient: Patient, commands: list[tuple[bytes, tuple[Any, ...]]], kind: str
) -> list[Any]:
    replies = patient.store.run_plain(commands, kind)
    for reply in replies:
        if isinstance(reply, StoreError):
            raise reply
    return replies


def _service(name: bytes) -> str | None:
    try:
        return check_service_id(name.decode())
    except ValueError:
        return None
