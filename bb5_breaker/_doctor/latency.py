"""How long a reply takes, against what the fleet's processes wait for it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Final

from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient

__all__ = ["NAME", "check"]

NAME: Final = "latency"
_PINGS: Final = 50
_LONGEST: Final = 3.0


def check(patient: Patient) -> Iterator[Finding]:
    """Time some PINGs."""
    times = _time_pings(patient)
    median, worst, limit = statistics.median(times), max(times), patient.store_timeout
    found = (
        f"{len(times)} PINGs took {_ms(median)} (median), {_ms(worst)} at most; "
        f"store_timeout is {_ms(limit)}"
    )
    if median > limit / 2:
        yield Finding(
            NAME,
            Severity.PROBLEM,
            f"{found}: calls will take the server for dead",
            "move the server nearer to its clients, find what keeps it busy (SLOWLOG GET, "
            "LATENCY DOCTOR), or raise it: bb5_breaker.configure(store_timeout="
            f"{max(0.1, 4 * worst):.1g})",
        )
    elif worst > limit / 2:
        yield Finding(
            NAME,
            Severity.WARNING,
            f"{found}: now and then a call may take the server for dead",
            "find what keeps it busy (SLOWLOG GET, LATENCY DOCTOR), or raise it with "
            "bb5_breaker.configure(store_timeout=...)",
        )
    else:
        yield Finding(NAME, Severity.OK, found)


def _time_pings(patient: Patient) -> list[float]:
    times: list[float] = []
    until = time.monotonic() + _LONGEST
    while len(times) < _PINGS and (not times or time.monotonic() < until):
        begun = time.perf_counter()
        patient.ask(b"PING")
        times.append(time.perf_counter() - begun)
    return times


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
