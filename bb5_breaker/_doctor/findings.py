"""What a check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bb5_breaker.exceptions import StoreError

__all__ = ["Finding", "Severity", "count_severities", "unchecked"]


class Severity(StrEnum):
    """How much a finding matters; the worst first."""

    PROBLEM = "problem"
    WARNING = "warning"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Args:
        check: Name of the check.
        severity: How much it matters.
        found: What was found, in one sentence.
        advice: What to do; empty where nothing is to be done.
        repair: A line for a shell that does it; None where no single one does.
    """

    check: str
    severity: Severity
    found: str
    advice: str = ""
    repair: str | None = None


def unchecked(check: str, what: str, error: StoreError) -> Finding:
    """Return the finding for something of little weight that this user may not look at."""
    return Finding(check, Severity.OK, f"{what} could not be checked, because {error.message}")


def count_severities(findings: Sequence[Finding]) -> dict[Severity, int]:
    """Return how many findings there are of each severity."""
    found = [each.severity for each in findings]
    return {severity: found.count(severity) for severity in Severity}
