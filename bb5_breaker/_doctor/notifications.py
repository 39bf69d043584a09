"""Whether the server tells of the ends of open periods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bb5_breaker._bus.notifications import SETTING, merge_flags
from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._doctor.repairs import repair_line
from bb5_breaker.exceptions import StoreError

__all__ = ["NAME", "check"]

NAME: Final = "notifications"
_OTHERWISE: Final = (
    "the clocks of processes end open periods as well, if only of circuits that they have heard of"
)


def check(patient: Patient) -> Iterator[Finding]:
    """Look at the flags, and at whether an event bus could set those that are missing."""
    try:
        flags = patient.setting(SETTING) or ""
    except StoreError as error:
        yield Finding(
            NAME,
            Severity.WARNING,
            f"whether keyspace notifications are on could not be checked, because "
            f"{error.message}; {_OTHERWISE}",
            f"have somebody who may see to it that {SETTING} has the flags K and x, and set it",
            repair_line(patient, "CONFIG", "SET", SETTING, "Kx"),
        )
        return
    needed = merge_flags(flags)
    if needed == flags:
        yield Finding(NAME, Severity.OK, f"{SETTING} is {flags!r}: ends of open periods are told")
    elif any(patient.try_all([("CONFIG", "SET", SETTING, needed)])):
        yield Finding(
            NAME,
            Severity.WARNING,
            f"{SETTING} is {flags!r}, which leaves out K or x, and this user may not set it; "
            f"{_OTHERWISE}",
            "have somebody who may set it",
            repair_line(patient, "CONFIG", "SET", SETTING, needed),
        )
    else:
        yield Finding(
            NAME,
            Severity.OK,
            f"{SETTING} is {flags!r}; an event bus that connects as this user adds K and x",
        )
