"""The command doctor: what stands in the way of a fleet on its Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from bb5_breaker._doctor.examination import CONNECTION, examine
from bb5_breaker._doctor.findings import Finding, Severity, count_severities
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._doctor.role import Role
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.places import place, where

__all__ = ["DoctorDocument"]

_INDENT: Final = " " * 9
_PLURALS: Final = {Severity.PROBLEM: "problems", Severity.WARNING: "warnings", Severity.OK: "ok"}


@dataclass(frozen=True, slots=True)
class DoctorDocument:
    """What all checks of a server found, the worst first."""

    store: RedisStore
    role: Role
    findings: Sequence[Finding]

    @staticmethod
    def make(store: RedisStore, role: Role, store_timeout: float) -> DoctorDocument:
        """Examine a server; nothing is written.

        Args:
            store: Where the circuits are.
            role: What the user in its URL is for.
            store_timeout: Seconds that the fleet's processes wait for a reply.
        """
        findings = examine(Patient(store, store_timeout), role)
        order = list(Severity)
        # Those of one severity stay in the order of the checks.
        findings.sort(key=lambda each: order.index(each.severity))
        return DoctorDocument(store, role, findings)

    @property
    def exit_code(self) -> ExitCode:
        """How the command ends: warnings are no failure."""
        problems = [each for each in self.findings if each.severity is Severity.PROBLEM]
        if any(each.check == CONNECTION for each in problems):
            return ExitCode.STORE
        return ExitCode.PROBLEMS if problems else ExitCode.DONE

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **place(self.store),
            "role": self.role.value,
            "counts": dict(count_severities(self.findings)),
            "findings": [asdict(each) for each in self.findings],
        }

    def print_text(self) -> None:
        """Print what was found, and below it what to do."""
        from rich.text import Text

        from bb5_breaker.cli.console import SEVERITY_STYLES, make_console, plain

        console = make_console()
        for each in self.findings:
            # Lines are left to the terminal to fold, so that commands can be copied.
            console.print(
                plain(f"{each.severity:<8} ", SEVERITY_STYLES[each.severity]),
                plain(f"{each.check}: ", "bold"),
                plain(each.found),
                sep="",
                soft_wrap=True,
            )
            if each.advice:
                console.print(plain(f"{_INDENT}-> {each.advice}"), soft_wrap=True)
            if each.repair:
                # Quoted for a shell already, and never cut.
                console.print(Text(f"{_INDENT}   {each.repair}", "cyan"), soft_wrap=True)
        counts = count_severities(self.findings)
        told = ", ".join(
            f"{number} {severity if number == 1 else _PLURALS[severity]}"
            for severity, number in counts.items()
            if number
        )
        console.print(f"\n{told} {where(self.store)}", soft_wrap=True)
