"""All checks of one server, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from bb5_breaker._doctor import (
    circuits,
    clients,
    clock,
    latency,
    memory,
    notifications,
    persistence,
    rights,
    scripts,
    topology,
    version,
)
from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._doctor.role import Role
from bb5_breaker.exceptions import StoreError

__all__ = ["CONNECTION", "examine"]

CONNECTION: Final = "connection"
_Check = Callable[[Patient], Iterator[Finding]]
_CHECKS: Final[dict[str, _Check]] = {
    each.NAME: each.check
    for each in (
        version,
        topology,
        latency,
        memory,
        persistence,
        notifications,
        clients,
        scripts,
        clock,
        circuits,
    )
}


def examine(patient: Patient, role: Role) -> list[Finding]:
    """Carry out all checks; nothing is written.

    Args:
        patient: The server.
        role: What its user is for.

    Returns:
        What was found. A check that can not be done is a finding as well; where the server can
        not be used at all that is the only one.
    """
    try:
        patient.knock()
    except StoreError as error:
        return [Finding(CONNECTION, Severity.PROBLEM, *_parts(error))]
    found: list[Finding] = []
    for name, check in {**_CHECKS, rights.NAME: lambda it: rights.check(it, role)}.items():
        found += _carry_out(name, check, patient)
    return found


def _carry_out(name: str, check: _Check, patient: Patient) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check(patient))
    except StoreError as error:
        found.append(
            Finding(name, Severity.WARNING, f"could not be checked, because {error.message}")
        )
    return found


def _parts(error: StoreError) -> tuple[str, str]:
    """Return what is wrong, and what to do: our messages end with that."""
    wrong, _, advice = error.message.rpartition("; ")
    return (wrong, advice) if wrong else (error.message, "")
