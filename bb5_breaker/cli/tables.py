"""Circuits as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from bb5_breaker._store.history import Probe, Transition
from bb5_breaker.cli.console import make_table, plain, state_text
from bb5_breaker.cli.reading import UNREADABLE, CircuitReport
from bb5_breaker.cli.text import format_age, format_moment

__all__ = ["circuit_facts", "fleet_table", "history_table", "probe_lines"]

_COUNTS = ("GEN", "FAILS", "CALLS", "RATE", "REJECTED", "SINCE", "NEXT")


def fleet_table(reports: Sequence[CircuitReport]) -> Table:
    """Return a table of circuits, one a line."""
    table = make_table()
    # Only names give way on a narrow terminal.
    table.add_column("SERVICE", overflow="fold", min_width=12)
    table.add_column("STATE", no_wrap=True)
    for name in _COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    for report in reports:
        table.add_row(plain(report.service), state_text(report.state), *_counts(report))
    return table


def circuit_facts(report: CircuitReport) -> Table:
    """Return all figures of a circuit that can be read, by name."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in _facts(report):
        table.add_row(name, value)
    return table


def probe_lines(probes: Sequence[Probe], now_ms: int) -> Text:
    """Return who probes now."""
    if not probes:
        return Text("none")
    lines = [
        plain(f"{probe.token}, lease ends in {format_age((probe.lease_until_ms - now_ms) / 1000)}")
        for probe in probes
    ]
    return Text("\n").join(lines)


def history_table(history: Sequence[Transition]) -> Table:
    """Return the transitions of a circuit as a table."""
    table = make_table()
    for name in ("AT", "GEN", "STATE", "FAILS", "REASON"):
        table.add_column(name, no_wrap=True)
    table.add_column("BY", overflow="fold")
    for entry in history:
        table.add_row(
            plain(format_moment(entry.at).removesuffix(" UTC")),
            plain("?" if entry.generation is None else entry.generation),
            state_text(entry.state),
            plain("?" if entry.failure_count is None else entry.failure_count),
            plain(entry.reason),
            plain(entry.changed_by),
        )
    return table


def _counts(report: CircuitReport) -> list[Text]:
    if report.state == UNREADABLE:
        return []
    figures = report.figures
    next_attempt = report.seconds_to_next_attempt
    return [
        Text(str(figures["generation"])),
        Text(str(figures["current_failures"])),
        Text(str(figures["total_calls"])),
        Text(f"{figures['failure_rate']:.1%}"),
        Text(str(figures["rejection_count"])),
        Text(_age(report.seconds_in_state)),
        Text("-" if next_attempt is None else format_age(next_attempt)),
    ]


def _facts(report: CircuitReport) -> list[tuple[str, Text]]:
    figures = report.figures
    failures = f"{figures['current_failures']} in a row"
    if figures["last_error"]:
        failures += f", the last a {figures['last_error']}"
    calls = (
        f"{figures['total_calls']}: {figures['successful_calls']} succeeded, "
        f"{figures['failed_calls']} failed; {figures['rejection_count']} more were rejected"
    )
    window = (
        f"{figures['failure_rate']:.1%} of the last {figures['window_calls']} calls failed "
        f"({figures['window_failures']})"
    )
    return [
        ("state", _state_line(report)),
        ("next attempt", plain(_next_attempt(report))),
        ("generation", plain(f"{figures['generation']} (epoch {figures['epoch']})")),
        ("failures", plain(failures)),
        ("calls", plain(calls)),
        ("window", plain(window)),
        ("last failure", plain(_moment(figures, "last_failure_time"))),
        ("last success", plain(_moment(figures, "last_success_time"))),
        ("changed by", plain(_cause(figures))),
    ]


def _state_line(report: CircuitReport) -> Text:
    line = state_text(report.state)
    if report.seconds_in_state is not None:
        line.append(f" for {format_age(report.seconds_in_state)}", style="default not bold")
    if report.figures["stored_state"] != report.state:
        line.append(" (its open period is over; the next call turns it)", style="default not bold")
    return line


def _next_attempt(report: CircuitReport) -> str:
    if report.seconds_to_next_attempt is not None:
        at = format_moment(report.figures["next_attempt_at"])
        return f"in {format_age(report.seconds_to_next_attempt)}, at {at}"
    return "calls go through" if report.state == "closed" else "now, a few at a time"


def _cause(figures: dict[str, Any]) -> str:
    if not figures["changed_by"]:
        return "never changed"
    return f"{figures['changed_by']} ({figures['reason']}), {_moment(figures, 'changed_at')}"


def _moment(figures: dict[str, Any], name: str) -> str:
    return "never" if figures[name] is None else format_moment(figures[name])


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else format_age(seconds)
