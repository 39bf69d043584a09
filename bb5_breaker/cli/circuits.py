"""The commands about circuits: status, show and reset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from bb5_breaker._core.commands import Reset, Snapshot
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Verdict
from bb5_breaker._store.history import Probe, Transition, read_history, read_probes
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.shell_commands import look_commands
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.failures import CommandError
from bb5_breaker.cli.places import no_match, place, unknown_circuit, where
from bb5_breaker.cli.reading import (
    UNREADABLE,
    CircuitReport,
    circuit_of,
    count_states,
    read_fleet,
    report_of,
)
from bb5_breaker.cli.text import visible
from bb5_breaker.state import CircuitState

__all__ = ["CircuitDocument", "FleetDocument", "ResetDocument"]


@dataclass(frozen=True, slots=True)
class FleetDocument:
    """The circuits of a fleet, those that need attention first."""

    exit_code: ClassVar = ExitCode.DONE
    store: RedisStore
    reports: Sequence[CircuitReport]

    @staticmethod
    def read(store: RedisStore, glob: str | None) -> FleetDocument:
        """Read them.

        Args:
            store: Where they are.
            glob: Pattern of service ids, as in a shell; None for all.

        Raises:
            CommandError: A pattern was given and matches none.
            StoreError: The store could not be read.
        """
        reports = read_fleet(store, glob)
        if glob is not None and not reports:
            raise no_match(store, glob)
        return FleetDocument(store, reports)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **place(self.store),
            "counts": count_states(self.reports),
            "circuits": [report.figures for report in self.reports],
        }

    def print_text(self) -> None:
        """Print a table."""
        from bb5_breaker.cli.console import make_console
        from bb5_breaker.cli.tables import fleet_table

        console = make_console()
        if self.reports:
            console.print(fleet_table(self.reports))
            console.print()
        for report in self.reports:
            if report.state == UNREADABLE:
                console.print(visible(report.figures["error"]), soft_wrap=True)
        counts = count_states(self.reports)
        told = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        console.print(f"{told or 'no circuits yet'} {where(self.store)}", soft_wrap=True)


@dataclass(frozen=True, slots=True)
class CircuitDocument:
    """Everything about one circuit."""

    exit_code: ClassVar = ExitCode.DONE
    store: RedisStore
    report: CircuitReport
    now_ms: int
    probes: Sequence[Probe]
    history: Sequence[Transition]

    @staticmethod
    def read(store: RedisStore, service: str, limit: int) -> CircuitDocument:
        """Read it.

        Args:
            store: Where the circuit is.
            service: Its id, checked.
            limit: Transitions to read.

        Raises:
            CommandError: There is no such circuit, or it makes no sense.
            StoreError: The store could not be read.
        """
        snapshot = store.run(Snapshot(circuit_of(service)))
        if not isinstance(snapshot, CircuitSnapshot) or not snapshot.exists:
            raise unknown_circuit(store, service)
        report = report_of(service, snapshot)
        if report.state == UNREADABLE:
            raise CommandError(report.figures["error"], ExitCode.STORE)
        return CircuitDocument(
            store,
            report,
            snapshot.now_ms,
            read_probes(store, service, snapshot.now_ms),
            read_history(store, service, limit),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **place(self.store),
            "circuit": self.report.figures,
            "probes": [asdict(probe) for probe in self.probes],
            "history": [asdict(transition) for transition in self.history],
            "look": look_commands(self.store, self.report.service),
        }

    def print_text(self) -> None:
        """Print figures, probes, transitions, and how to see them with redis-cli."""
        from bb5_breaker.cli.console import make_console, plain
        from bb5_breaker.cli.tables import circuit_facts, history_table, probe_lines

        console = make_console()
        console.print(plain(self.report.service, "bold"), soft_wrap=True)
        facts = circuit_facts(self.report)
        facts.add_row("probes", probe_lines(self.probes, self.now_ms))
        console.print(facts)
        if self.history:
            console.print("\nTransitions, the latest first (UTC)", style="bold")
            console.print(history_table(self.history))
        console.print("\nLook at it with redis-cli", style="bold")
        for line in look_commands(self.store, self.report.service):
            console.print(visible(line), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class ResetDocument:
    """What a reset by hand came to."""

    exit_code: ClassVar = ExitCode.DONE
    store: RedisStore
    service: str
    previous: CircuitState
    generation: int

    @staticmethod
    def make(store: RedisStore, service: str) -> ResetDocument:
        """Close a circuit.

        Args:
            store: Where the circuit is.
            service: Its id, checked.

        Raises:
            CommandError: There is no such circuit.
            StoreError: The store could not do it.
        """
        view = store.run(Reset(circuit_of(service)))
        if not isinstance(view, CircuitView) or view.verdict is not Verdict.RESET:
            raise unknown_circuit(store, service)
        return ResetDocument(store, service, view.moved_from or view.state, view.generation)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **place(self.store),
            "service_id": self.service,
            "previous_state": self.previous.value,
            "current_state": CircuitState.CLOSED.value,
            "generation": self.generation,
        }

    def print_text(self) -> None:
        """Print what it was."""
        name = visible(self.service)
        if self.previous is CircuitState.CLOSED:
            print(f"{name} was closed already; its current failures are forgotten")
        else:
            print(f"{name} was {self.previous}, is closed now (generation {self.generation})")
