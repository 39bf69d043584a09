"""What a demo came to, for people."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bb5_breaker.demo.result import DemoResult

__all__ = ["format_span", "print_report"]

_PIPED_WIDTH = 200


def print_report(result: DemoResult) -> None:
    """Print the claims and the figures."""
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    console.print()
    console.print(_claims(result))
    console.print()
    console.print(_figures(result))
    console.print()
    if result.shown:
        console.print("All of it was as it should be.", style="bold green")
    else:
        console.print("Not everything was as it should be; see NO above.", style="bold red")


def _figures(result: DemoResult) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in _lines(result):
        table.add_row(name, Text(text))
    return table


def _lines(result: DemoResult) -> list[tuple[str, str]]:
    figures = result.figures
    median, p99 = format_span(figures.rejection_median), format_span(figures.rejection_p99)
    reached = f"{figures.requests} reached the service"
    return [
        (
            "calls",
            f"{figures.calls} by {len(result.seen.pids)} processes: {figures.successes} "
            f"succeeded, {figures.failures} failed, {figures.rejections} rejected; {reached}",
        ),
        (
            "a rejection takes",
            f"{median} median, {p99} p99 (a failing call {format_span(figures.failure_mean)})",
        ),
        (
            "time saved",
            f"{format_span(figures.time_saved)} of waiting = {figures.rejections} rejections x "
            "(mean failing call - mean rejection)",
        ),
        (
            "all rejecting",
            f"{format_span(figures.all_rejecting_after)} after the tripping failure, when the last "
            "call under way had ended",
        ),
        (
            "probes",
            f"{figures.probes} let through, {figures.probes_at_once} at once at the most, "
            "as the service counted",
        ),
    ]


def _claims(result: DemoResult) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for claim in result.claims:
        held = Text("yes", style="green") if claim.held else Text("NO", style="bold red")
        line = Text(claim.text)
        line.append(f": {claim.detail}", style="dim" if claim.held else "bold red")
        table.add_row(held, line)
    return table


def format_span(seconds: float | None) -> str:
    """Return a time span in the unit that suits it; None is one that never came."""
    if seconds is None:
        return "never measured"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1.0:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.1f} s"
