"""The demo live in a terminal."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bb5_breaker.demo.audience import hints
from bb5_breaker.demo.evidence import Tally
from bb5_breaker.demo.figures import time_rejections
from bb5_breaker.demo.records import Call, Mode, Outcome, seconds_between
from bb5_breaker.demo.report import format_span, print_report
from bb5_breaker.demo.result import DemoResult
from bb5_breaker.demo.stage import Stage
from bb5_breaker.state import CircuitState

__all__ = ["LiveAudience"]

_PERIOD: Final = 0.15
_LAST_EVENTS: Final = 5
_WAITING: Final = 0.25
_STATES: Final = {
    CircuitState.OPEN: "bold red",
    CircuitState.HALF_OPEN: "yellow",
    CircuitState.CLOSED: "green",
}
_MODES: Final = {Mode.HEALTHY: "green", Mode.RECOVERING: "green"}
_OUTCOMES: Final = {
    Outcome.SUCCESS: ("ok", "green"),
    Outcome.FAILURE: ("failed", "red"),
    Outcome.REJECTED: ("rejected", "cyan"),
}


class LiveAudience:
    """Sees everything move, several times a second."""

    def __init__(self) -> None:
        self._console = Console(markup=False, highlight=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._due = 0.0
        self._hinted = False

    def seated(self) -> AbstractContextManager[object]:
        """Return a context in which the screen is drawn."""
        return self._live

    def watch(self, stage: Stage) -> None:
        """Draw how things are now."""
        if not stage.journal.marks or time.monotonic() < self._due:
            return
        if not self._hinted:
            self._hinted = True
            for line in hints(stage):
                self._console.print(line, soft_wrap=True)
        self._live.update(draw(stage), refresh=True)
        self._due = time.monotonic() + _PERIOD

    def conclude(self, result: DemoResult) -> None:
        """Print the report."""
        print_report(result)


def draw(stage: Stage) -> Group:
    """Return the stage as it is now."""
    marks = stage.journal.marks
    seconds = seconds_between(marks[0].at_ns, time.monotonic_ns())
    title = Text.assemble((f"{seconds:5.1f} s  ", "dim"), (marks[-1].title, "bold"))
    return Group(
        title,
        Text(),
        _service_line(stage),
        _circuit_line(stage),
        _rejection_line(stage),
        Text(),
        _workers(stage),
        Text(),
        *_event_lines(stage),
        Text(f"bb5-breaker status --redis {stage.store.address}", style="dim"),
    )


def _service_line(stage: Stage) -> Text:
    modes = stage.journal.modes
    mode = modes[-1].mode if modes else Mode.HEALTHY
    health = "well" if mode in _MODES else mode.value
    line = Text.assemble("service  ", (f"{health:<10}", _MODES.get(mode, "bold red")))
    line.append(f"http://127.0.0.1:{stage.port}, {len(stage.journal.requests)} requests answered")
    return line


def _circuit_line(stage: Stage) -> Text:
    snapshot = stage.snapshot()
    state = snapshot.effective_state
    line = Text.assemble("circuit  ", (f"{state.value:<10}", _STATES[state]))
    line.append(f"generation {snapshot.generation}, {snapshot.failures} failures in a row")
    if state is CircuitState.OPEN:
        left = (snapshot.open_until_ms - snapshot.now_ms) / 1000
        line.append(f", next attempt in {left:.1f} s")
    if snapshot.active_probes:
        line.append(f", {snapshot.active_probes} probing")
    return line


def _rejection_line(stage: Stage) -> Text:
    times = time_rejections(stage.journal.calls)
    line = Text(f"rejected {times.number:<10}")
    if times.number:
        line.append(f"in {format_span(times.median)} (median), {format_span(times.p99)} (p99)")
    return line


def _workers(stage: Stage) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for name in ("WORKER", "PROCESS"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("LAST CALL", width=18, no_wrap=True)
    table.add_column("IT SAW", width=9, no_wrap=True)
    for name in ("CALLS", "OK", "FAILED", "REJECTED"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, tally in stage.journal.tallies.items():
        counts = (tally.calls, tally.successes, tally.failures, tally.rejections)
        table.add_row(str(number), str(stage.pids[number]), *_last_call(tally), *map(str, counts))
    return table


def _last_call(tally: Tally) -> tuple[Text, Text]:
    call = tally.last
    if call is None:
        return Text("starts", style="dim"), Text()
    silent = seconds_between(call.ended_ns, time.monotonic_ns())
    if silent > _WAITING:
        return Text(f"waits {silent:.1f} s", style="magenta"), _state_seen(call)
    word, style = _OUTCOMES[call.outcome]
    return Text(f"{word:<9}{_took(call)}", style=style), _state_seen(call)


def _state_seen(call: Call) -> Text:
    state = CircuitState(call.state)
    return Text(state.value, style=_STATES[state])


def _took(call: Call) -> str:
    seconds = seconds_between(call.begun_ns, call.ended_ns)
    return f"{seconds * 1e3:6.2f} ms" if seconds < 0.1 else f"{seconds:6.2f} s"


def _event_lines(stage: Stage) -> list[Text]:
    begun_ns = stage.journal.marks[0].at_ns
    lines = [
        Text.assemble(
            (f"{seconds_between(begun_ns, event.at_ns):5.1f} s  ", "dim"),
            f"event, generation {event.generation}: ",
            (event.state.value, _STATES[event.state]),
            f" ({event.reason}, by process {event.pid})",
        )
        for event in stage.journal.events[-_LAST_EVENTS:]
    ]
    # Always as high, so that nothing below moves.
    return lines + [Text()] * (_LAST_EVENTS - len(lines))
