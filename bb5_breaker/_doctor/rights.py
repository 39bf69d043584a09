"""What this user may do, against what its role needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from bb5_breaker._core.commands import Snapshot
from bb5_breaker._core.policy import Circuit
from bb5_breaker._doctor.deeds import Deed, deeds_of
from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._doctor.repairs import repair_line
from bb5_breaker._doctor.role import Role
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.exceptions import StoreError

__all__ = ["NAME", "check"]

NAME: Final = "rights"
_EVAL: Final = "+eval"
# Servers differ in their words, but name what stands in the way of all they have.
_ABOUT_PLACE: Final = re.compile(r"access (?:a|one of the) (?:key|channel)s?")


def check(patient: Patient, role: Role) -> Iterator[Finding]:
    """Try all that the role does, without doing it."""
    deeds = deeds_of(role, patient.rules.prefix, patient.database)
    refusals = patient.try_all([deed.words for deed in deeds])
    missing = dict.fromkeys(_missing_rights(zip(deeds, refusals, strict=True)))
    if _EVAL in missing:
        substitute = _substitute_for_eval(patient)
        if substitute is not None:
            del missing[_EVAL]
            yield substitute
    if not missing:
        yield Finding(NAME, Severity.OK, f"the user {patient.user!r} may do all that a {role} does")
        return
    yield Finding(
        NAME,
        Severity.PROBLEM,
        f"the user {patient.user!r} lacks rights that a {role} needs: {' '.join(missing)}",
        f"grant them; all that it needs is told by: bb5-breaker acl --role {role}",
        repair_line(patient, "ACL", "SETUSER", patient.user, *missing),
    )


def _missing_rights(tried: Iterable[tuple[Deed, str]]) -> Iterator[str]:
    for deed, refusal in tried:
        if not refusal:
            continue
        is_place = deed.place is not None and _ABOUT_PLACE.search(refusal)
        yield deed.place if is_place and deed.place else deed.command


def _substitute_for_eval(patient: Patient) -> Finding | None:
    """Return what does the work of EVAL; None where nothing does."""
    if not any(patient.try_all([("SCRIPT", "LOAD", "return 1")])):
        return Finding(NAME, Severity.OK, "EVAL is refused; SCRIPT LOAD does the same")
    try:
        patient.store.run(Snapshot(Circuit.of("doctor", CircuitBreakerConfig())))
    except StoreError:
        return None
    return Finding(
        NAME,
        Severity.WARNING,
        "EVAL is refused, as is SCRIPT LOAD: somebody else made the scripts known to the server, "
        "which forgets them when it restarts",
        "grant EVAL, which allows no more than the user's other rights do, or have the scripts "
        "loaded after each restart and failover: bb5-breaker load-scripts",
    )
