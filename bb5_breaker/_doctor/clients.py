"""Whether there is room for the fleet's connections, and whether they are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bb5_breaker._doctor.findings import Finding, Severity, unchecked
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._doctor.repairs import repair_line
from bb5_breaker.exceptions import StoreError

__all__ = ["NAME", "check"]

NAME: Final = "connections"
_NEAR: Final = 0.75
_FULL: Final = 0.9
_SHORT: Final = 60


def check(patient: Patient) -> Iterator[Finding]:
    """Count connections against their limit, and look for a short idle time."""
    info = patient.info
    connected = int(info.get("connected_clients", 0))
    most = int(info.get("maxclients", 0))
    told = f"{connected} of {most or 'an unknown number of'} connections are in use"
    if most and connected / most >= _NEAR:
        yield Finding(
            NAME,
            Severity.PROBLEM if connected / most >= _FULL else Severity.WARNING,
            f"{told}: new ones will be refused, and their processes guard their calls alone",
            "raise maxclients, or find who holds them (redis-cli CLIENT LIST); a process of the "
            "fleet holds up to 22, an idle one 2 or 3",
        )
    else:
        yield Finding(NAME, Severity.OK, told)
    yield from _idle_time(patient)


def _idle_time(patient: Patient) -> Iterator[Finding]:
    try:
        idle = int(patient.setting("timeout") or 0)
    except StoreError as error:
        yield unchecked(NAME, "whether idle connections are closed", error)
        return
    if 0 < idle < _SHORT:
        yield Finding(
            NAME,
            Severity.WARNING,
            f"the server closes connections that are idle for {idle} s (timeout): the next report "
            "has to connect again",
            "have idle connections stay",
            repair_line(patient, "CONFIG", "SET", "timeout", "0"),
        )
