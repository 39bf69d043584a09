"""Which server it is, and whether the scripts are proven on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._store.versions import OLDEST

__all__ = ["NAME", "check"]

NAME: Final = "version"
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)")
_NEEDED: Final = f"Redis {OLDEST[0]}.{OLDEST[1]} or newer, or Valkey"


def check(patient: Patient) -> Iterator[Finding]:
    """Compare the server's version with the oldest that is supported."""
    info = patient.info
    text = info.get("redis_version", "")
    found = _NUMBERS.match(text)
    if found is None:
        yield Finding(
            NAME,
            Severity.WARNING,
            f"the server does not tell its version (redis_version is {text!r})",
            f"make sure that it is {_NEEDED}",
        )
    elif (int(found[1]), int(found[2])) < OLDEST:
        yield Finding(
            NAME,
            Severity.PROBLEM,
            f"Redis {text} is too old: the library refuses to use it",
            f"upgrade to {_NEEDED}",
        )
    elif "valkey_version" in info:
        yield Finding(NAME, Severity.OK, f"Valkey {info['valkey_version']}")
    else:
        yield Finding(NAME, Severity.OK, f"Redis {text}")
