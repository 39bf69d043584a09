"""The course of the demo, phase by phase; each waits for what it shows."""

from __future__ import annotations

import time

from bb5_breaker.demo.evidence import Mark
from bb5_breaker.demo.records import Mode
from bb5_breaker.demo.rules import CONFIG, SERVICE, WORKERS
from bb5_breaker.demo.stage import Stage

__all__ = ["tell_story"]


def tell_story(stage: Stage) -> None:
    """Lead through all phases.

    Raises:
        DemoStuck: A phase did not come to its end.
    """
    _phase(stage, f"{WORKERS} processes start; one circuit, '{SERVICE}', for all")
    stage.wait(lambda: _all_succeeded_since(stage, 0), 25.0, "every process had a success")
    _phase(stage, "All is well: calls go through")
    stage.dwell(3.0)
    _let_it_fail(stage)
    _probe_in_vain(stage)
    _recover(stage)


def _let_it_fail(stage: Stage) -> None:
    stage.set_mode(Mode.FAILING)
    _phase(stage, "The service fails: time-outs, and slow 503s")
    _await_generation(stage, 1, 15.0, "the circuit is open")
    opened_ns = stage.journal.events[0].at_ns
    _phase(stage, f"Open, for all {WORKERS} processes at once: calls are rejected")
    stage.wait(
        lambda: all(
            tally.last_rejection_ns > opened_ns for tally in stage.journal.tallies.values()
        ),
        10.0,
        "every process had a call rejected",
    )
    stage.set_mode(Mode.HANGING)


def _probe_in_vain(stage: Stage) -> None:
    _await_generation(stage, 2, CONFIG.timeout_seconds + 10.0, "the circuit is half-open")
    _phase(stage, "The open period is over: one probe, in the whole fleet")
    _await_generation(stage, 3, 15.0, "the circuit is open again")
    _phase(stage, "The probe failed: open again, for all")


def _recover(stage: Stage) -> None:
    stage.dwell(1.5)
    stage.set_mode(Mode.RECOVERING)
    _phase(stage, "The service is well again; the next probe will tell")
    _await_generation(stage, 4, CONFIG.timeout_seconds + 10.0, "the circuit is half-open")
    _phase(stage, "One probe again")
    _await_generation(stage, 5, 15.0, "the circuit is closed")
    stage.set_mode(Mode.HEALTHY)
    closed_ns = time.monotonic_ns()
    _phase(stage, "The probe succeeded: closed, for all; calls go through")
    stage.wait(
        lambda: _all_succeeded_since(stage, closed_ns), 15.0, "every process had a success again"
    )
    stage.dwell(3.0)


def _phase(stage: Stage, title: str) -> None:
    stage.journal.mark(Mark(title, time.monotonic_ns()))


def _await_generation(stage: Stage, generation: int, seconds: float, what: str) -> None:
    stage.wait(
        lambda: any(event.generation >= generation for event in stage.journal.events),
        seconds,
        what,
    )


def _all_succeeded_since(stage: Stage, moment_ns: int) -> bool:
    return all(tally.last_success_ns > moment_ns for tally in stage.journal.tallies.values())
