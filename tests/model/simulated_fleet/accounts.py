"""The account at the end: what all processes agree on, and where each outcome went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bb5_breaker._core.commands import Outcome
from bb5_breaker._core.replies import CircuitView
from bb5_breaker._core.seen import Seen
from bb5_breaker._core.tally import Tally
from bb5_breaker.state import CircuitState

from .calling import Caller
from .calls import Fate, Violation

if TYPE_CHECKING:
    from .process import Process
    from .store import SimulatedStore

__all__ = ["check_agreement", "check_books"]

# A view must reject by itself while the open period lasts for longer than this.
_OPEN_MARGIN = 0.4


def check_agreement(
    store: SimulatedStore,
    processes: Sequence[Process],
    listening: Sequence[Process],
    is_calm: bool,
) -> None:
    """Every living process sees the circuit as it is and has reported all.

    Args:
        store: The truth.
        processes: The fleet.
        listening: Those of it that were subscribed before they asked last: their views agree, if
            they go by them.
        is_calm: No answer was overtaken by a transition, so they do.
    """
    present = store.look()
    for process in processes:
        if not process.is_alive:
            continue
        if not process.view.is_settled:
            raise Violation("h: none forgotten", f"{process.name} keeps what it should report")
        if process in listening:
            if is_calm or process.view.decide(process.clock()) is not None:
                _check_sees(process, present)
            if is_calm:
                _check_goes_by_view(process, present)
        elif not process.feed.connection and process.view.decide(process.clock()) is not None:
            raise Violation("b: fresh", f"{process.name} goes by a view, and does not listen")


def _check_sees(process: Process, present: CircuitView) -> None:
    seen = process.view.seen
    # That a circuit has a name by now is told with reports only.
    if seen is None or _key(seen.told) not in (_key(present), _key(replace(present, epoch=""))):
        raise Violation("g: agreement", f"{process.name} sees {seen}, but it is {present}")


def _check_goes_by_view(process: Process, present: CircuitView) -> None:
    known, now = process.view.decide(process.clock()), process.clock()
    left = (present.until_ms - present.now_ms) / 1000
    if present.state is CircuitState.CLOSED and type(known) is not Tally:
        raise Violation("g: fast", f"{process.name} has to ask a closed circuit")
    if present.state is CircuitState.OPEN and left > _OPEN_MARGIN:
        if not isinstance(known, Seen):
            raise Violation("g: fast", f"{process.name} has to ask an open circuit")
        # However late it was told at first: each report of rejections is answered with it.
        if abs(known.ends_at - now - left) > _OPEN_MARGIN:
            raise Violation("g: agreement", f"{process.name} waits until {known.ends_at}")


def check_books(
    store: SimulatedStore, processes: Sequence[Process], callers: Sequence[Caller]
) -> None:
    """Every outcome is counted once, or there is a reason."""
    counted: Counter[Outcome | None] = Counter()
    waiting = {
        call
        for process in processes
        for tally, calls in process.successes.items()
        if tally.retired
        for call in calls
    }
    for process, caller in zip(processes, callers, strict=True):
        for call in caller.calls:
            if call.fate is Fate.COUNTED:
                counted[call.outcome] += 1
            elif process.is_alive and call.fate is None and call not in waiting:
                raise Violation("h: none forgotten", f"{call}: {call.outcome} went nowhere")
    _check_totals(store, counted)


def _check_totals(store: SimulatedStore, counted: Counter[Outcome | None]) -> None:
    observer = store.observer
    successes, failures = observer.successes, observer.failures
    if store.machine is not None:
        last = store.machine.snapshot(store.now_ms())
        successes += last.total_successes
        failures += last.total_failures
    totals = (counted[Outcome.SUCCESS], counted[Outcome.FAILURE])
    if (successes, failures) != totals:
        raise Violation("h: totals", f"store {successes} and {failures}, calls {totals}")
    if observer.published != observer.transitions:
        raise Violation("e: events", f"{observer.published} for {observer.transitions}")


def _key(told: CircuitView) -> tuple[object, ...]:
    return told.state, told.generation, told.epoch
