"""What the server does when its memory is full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient

__all__ = ["NAME", "check"]

NAME: Final = "memory"
_NEAR: Final = 0.75
_FULL: Final = 0.9
_GIVE_ROOM: Final = (
    "give the breakers a server of their own, with maxmemory-policy noeviction and room to spare"
)


def check(patient: Patient) -> Iterator[Finding]:
    """Look at the limit, the policy, and how near the limit is."""
    info = patient.info
    if "maxmemory" not in info:
        yield Finding(NAME, Severity.OK, "the server does not tell whether it has a limit")
        return
    limit = int(info["maxmemory"])
    if not limit:
        yield Finding(NAME, Severity.OK, "no limit is set: nothing is evicted or refused")
        return
    share = int(info.get("used_memory", 0)) / limit
    policy = info.get("maxmemory_policy", "noeviction")
    told = f"maxmemory-policy is {policy} and {share:.0%} of maxmemory ({limit} bytes) are used"
    if policy == "noeviction":
        yield _refusing(told, share)
    else:
        yield _evicting(told, share, int(info.get("evicted_keys", 0)))


def _refusing(told: str, share: float) -> Finding:
    if share < _NEAR:
        return Finding(NAME, Severity.OK, told)
    return Finding(
        NAME,
        Severity.PROBLEM if share >= _FULL else Severity.WARNING,
        f"{told}: at the limit writes are refused (OOM), and each process guards its calls alone",
        "raise maxmemory, or find what fills the server (redis-cli --bigkeys)",
    )


def _evicting(told: str, share: float, evicted: int) -> Finding:
    is_near = evicted > 0 or share >= _FULL
    # All of our keys have a time to live, so the volatile policies take them as well.
    return Finding(
        NAME,
        Severity.PROBLEM if is_near else Severity.WARNING,
        f"{told}; {evicted} keys were evicted since its start: circuits are evicted like any other "
        "key, volatile policies included, since all have a time to live; an open circuit that is "
        "evicted lets calls through again",
        _GIVE_ROOM,
    )
