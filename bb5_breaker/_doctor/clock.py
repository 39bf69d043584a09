"""The server's clock, which decides all that is shared, against that of this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient

__all__ = ["NAME", "check"]

NAME: Final = "clock"


def check(patient: Patient) -> Iterator[Finding]:
    """Tell the difference; nothing depends on it but how people read times."""
    before = time.time()
    seconds, micros = map(int, patient.ask(b"TIME"))
    here = (before + time.time()) / 2
    ahead = seconds + micros / 1e6 - here
    way = "ahead of" if ahead >= 0 else "behind"
    yield Finding(
        NAME,
        Severity.OK,
        f"the server's clock is {abs(ahead):.3f} s {way} this machine's; only the server's decides",
    )
