"""Scripts, ours and those of others, that keep the server from all else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from bb5_breaker._doctor.findings import Finding, Severity, unchecked
from bb5_breaker._doctor.patient import Patient
from bb5_breaker.exceptions import StoreError

__all__ = ["NAME", "check"]

NAME: Final = "scripts"
_SLOW_US: Final = 5000.0
# A script takes longer when it is new to the server, and any may be held up.
_FEW: Final = 20
_COUNTS: Final = re.compile(r"calls=(\d+),.*usec_per_call=([0-9.]+)")


def check(patient: Patient) -> Iterator[Finding]:
    """Look at how long a script takes, and when the server says that it is busy with one."""
    stats = patient.command_stats
    slowest = max(_microseconds(stats, name) for name in ("evalsha", "eval", "fcall"))
    if slowest >= _SLOW_US:
        yield Finding(
            NAME,
            Severity.WARNING,
            f"scripts take {slowest / 1000:.1f} ms on average, ours a hundredth of one: while one "
            "runs the server answers nobody",
            "find those that are slow (redis-cli SLOWLOG GET), and move them to another server",
        )
    try:
        # The first is the name since Redis 7.
        limit = patient.setting("busy-reply-threshold") or patient.setting("lua-time-limit") or "0"
    except StoreError as error:
        yield unchecked(NAME, "when the server says that it is busy with a script", error)
        return
    told = f"a script that runs for more than {limit} ms is answered for with BUSY"
    if limit == "0":
        told = "however long a script runs, the server does not say BUSY"
    yield Finding(NAME, Severity.OK, f"{told}; before that, calls wait for store_timeout")


def _microseconds(stats: dict[str, str], command: str) -> float:
    found = _COUNTS.search(stats.get(f"cmdstat_{command}", ""))
    return float(found[2]) if found and int(found[1]) >= _FEW else 0.0
