"""Circuits that were damaged from outside, and what repairs each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from bb5_breaker._core.commands import Snapshot
from bb5_breaker._core.policy import Circuit
from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.holdings import (
    CircuitList,
    Holding,
    holdings_of,
    inspect,
    owner_of,
    read_list,
    scan_keys,
)
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._doctor.repairs import repair_line
from bb5_breaker._store.keys import CircuitKeys, registry_key
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.exceptions import StoreDataError, StoreError

__all__ = ["NAME", "check"]

NAME: Final = "circuits"
_MOST_CIRCUITS: Final = 2000
_MOST_TOLD: Final = 20
# No rules are needed to read.
_ANY_RULES: Final = CircuitBreakerConfig()


def check(patient: Patient) -> Iterator[Finding]:
    """Look at the keys of all circuits, listed or not, up to a bound."""
    found: list[bytes] = []
    try:
        found.extend(scan_keys(patient))
    except StoreError as error:
        yield _unchecked("keys of circuits that are not listed", error)
    (registry,) = inspect(patient, holdings_of(patient, []))
    # Read after the keys: a circuit that is made meanwhile is listed later than its key is there.
    listed = CircuitList([], []) if registry.is_foreign else read_list(patient)
    owners = {key: owner for key in found if (owner := owner_of(patient, key)) is not None}
    services = sorted({*listed.services, *(name for name, _ in owners.values() if name)})
    looked_at = services[:_MOST_CIRCUITS]
    keys = dict(holdings_of(patient, looked_at))
    keys.update({key: kind for key, (_, kind) in islice(owners.items(), 10 * _MOST_CIRCUITS)})
    damage = [
        *_foreign_keys(patient, holdings := inspect(patient, list(keys.items()))),
        *_damaged_fields(patient, looked_at, holdings),
        *_endless_keys(patient, holdings),
        *([] if registry.is_foreign else _unlisted(patient, listed, holdings, looked_at)),
        *_foreign_members(patient, listed),
    ]
    yield from damage[:_MOST_TOLD]
    if len(damage) > _MOST_TOLD:
        yield Finding(NAME, Severity.WARNING, f"and {len(damage) - _MOST_TOLD} more such findings")
    told = f"{len(looked_at)} of {len(services)} circuits and {len(keys)} keys were looked at"
    yield Finding(NAME, Severity.OK, f"{told}; findings: {len(damage) or 'none'}")


def _foreign_keys(patient: Patient, holdings: list[Holding]) -> Iterator[Finding]:
    for each in holdings:
        if each.is_foreign:
            yield Finding(
                NAME,
                Severity.PROBLEM,
                f"{_shown(each.name)} holds a {each.found}, not a {each.kind}: something else wrote"
                " under the breaker's names",
                "find out what did, give it other names, and delete the key",
                repair_line(patient, "DEL", each.name),
            )


def _damaged_fields(
    patient: Patient, services: list[str], holdings: list[Holding]
) -> Iterator[Finding]:
    kept = {each.name for each in holdings if each.found == each.kind}
    foreign = {each.name for each in holdings if each.is_foreign}
    keys = {service: CircuitKeys.of(patient.rules.prefix, service) for service in services}
    readable = [
        name for name, own in keys.items() if own.circuit in kept and own.probes not in foreign
    ]
    replies = patient.store.run_many([Snapshot(Circuit.of(name, _ANY_RULES)) for name in readable])
    for service, reply in zip(readable, replies, strict=True):
        if isinstance(reply, StoreDataError):
            yield Finding(
                NAME,
                Severity.PROBLEM,
                f"the circuit {service} can not be used: {reply.message}",
                "begin it anew, closed, or correct the field",
                repair_line(patient, "DEL", *keys[service].all),
            )
        elif isinstance(reply, StoreError):
            yield _unchecked("the fields of circuits", reply)
            return


def _endless_keys(patient: Patient, holdings: list[Holding]) -> Iterator[Finding]:
    for each in holdings:
        if isinstance(each.ttl_ms, StoreError):
            yield _unchecked("whether all keys have a time to live", each.ttl_ms)
            return
        if each.ttl_ms == -1 and not each.is_foreign:
            yield Finding(
                NAME,
                Severity.WARNING,
                f"{_shown(each.name)} has no time to live: somebody took it away, or wrote the key",
                "give it one; a circuit that is used gets its own again",
                repair_line(patient, "PEXPIRE", each.name, str(_life_ms(patient))),
            )


def _unlisted(
    patient: Patient, listed: CircuitList, holdings: list[Holding], services: list[str]
) -> Iterator[Finding]:
    kept = {each.name: each for each in holdings if each.found == each.kind}
    key = registry_key(patient.rules.prefix)
    for service in services:
        own = kept.get(CircuitKeys.of(patient.rules.prefix, service).circuit)
        if own is None or service in listed.services:
            continue
        repair = repair_line(patient, "ZADD", key, str(_end_ms(patient, own)), service)
        if key not in kept:
            repair += f" && {repair_line(patient, 'PEXPIRE', key, str(_life_ms(patient)))}"
        yield Finding(
            NAME,
            Severity.WARNING,
            f"the circuit {service} is not in the list: status does not show it, and subscribers "
            "may miss its history",
            "enter it",
            repair,
        )


def _foreign_members(patient: Patient, listed: CircuitList) -> Iterator[Finding]:
    for member in listed.foreign:
        yield Finding(
            NAME,
            Severity.WARNING,
            f"the list of circuits has {_shown(member)}, which is no service id",
            "take it out",
            repair_line(patient, "ZREM", registry_key(patient.rules.prefix), member),
        )


def _unchecked(what: str, error: StoreError) -> Finding:
    return Finding(
        NAME,
        Severity.WARNING,
        f"{what} could not be checked, because {error.message}",
        "run doctor as a user who may: bb5-breaker acl --role reader",
    )


def _end_ms(patient: Patient, circuit: Holding) -> int:
    """Return until when a circuit that is not renewed is there, on the server's clock."""
    seconds, micros = map(int, patient.ask(b"TIME"))
    left = circuit.ttl_ms if isinstance(circuit.ttl_ms, int) else patient.rules.idle_ms
    return seconds * 1000 + micros // 1000 + max(left, 1000)


def _life_ms(patient: Patient) -> int:
    return patient.rules.idle_ms + patient.rules.idle_ms // 2


def _shown(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
