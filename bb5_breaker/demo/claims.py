"""What the demo shows, checked against what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bb5_breaker.demo.evidence import Evidence
from bb5_breaker.demo.figures import Figures, Turns
from bb5_breaker.demo.records import Mode, Outcome
from bb5_breaker.demo.rules import CLIENT_TIMEOUT
from bb5_breaker.state import CircuitState

__all__ = ["Claim", "check_claims"]

_NS: Final = 1_000_000_000
# The course of every demo: each transition once, in this order.
_COURSE: Final = (
    CircuitState.OPEN,
    CircuitState.HALF_OPEN,
    CircuitState.OPEN,
    CircuitState.HALF_OPEN,
    CircuitState.CLOSED,
)
# Generous to a machine that has a lot to do: calls under way end before the first rejection.
_ALL_REJECTING: Final = CLIENT_TIMEOUT + 2.0
_LATE: Final = 0.5
_TIMES_FASTER: Final = 20


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that the demo shows.

    Args:
        text: What.
        held: Whether it was so.
        detail: What was seen.
    """

    text: str
    held: bool
    detail: str


def check_claims(seen: Evidence, turns: Turns, figures: Figures) -> list[Claim]:
    """Return everything that the demo shows, and whether it was so."""
    return [
        _all_well_at_first(seen),
        *_one_course_for_all(seen),
        _all_rejecting(seen, figures),
        _none_let_through(figures),
        _rejections_are_cheap(figures),
        *_one_probe_at_a_time(turns, figures),
        _no_other_request(seen, turns),
        _all_well_at_last(seen, turns),
        _counted_alike(seen, figures),
        _no_trouble(seen),
    ]


def _all_well_at_first(seen: Evidence) -> Claim:
    failing = [change.at_ns for change in seen.modes if change.mode is Mode.FAILING]
    early = [call for call in seen.calls if failing and call.ended_ns < failing[0]]
    good = sum(call.outcome is Outcome.SUCCESS for call in early)
    return Claim(
        "while the service was well, every call succeeded",
        len(early) > 0 and good == len(early),
        f"{good} of {len(early)} calls",
    )


def _one_course_for_all(seen: Evidence) -> Iterator[Claim]:
    heard = [(event.generation, event.state.value) for event in seen.events]
    wanted = [(number, state.value) for number, state in enumerate(_COURSE, 1)]
    yield Claim(
        "the circuit of the fleet opened, reopened after a failed probe, and closed again",
        heard == wanted,
        ", ".join(f"{generation} {state}" for generation, state in heard) or "no transition",
    )
    stored = [(entry.generation, entry.state) for entry in reversed(seen.history)]
    yield Claim(
        "each transition is one event, the same on the channel and in the stream",
        stored == heard,
        f"{len(heard)} heard, {len(stored)} stored",
    )


def _all_rejecting(seen: Evidence, figures: Figures) -> Claim:
    after = figures.all_rejecting_after
    return Claim(
        f"after the tripping failure all {len(seen.pids)} processes rejected their calls",
        after is not None and after <= _ALL_REJECTING,
        "not all did" if after is None else f"the last one {after:.3f} s later",
    )


def _none_let_through(figures: Figures) -> Claim:
    return Claim(
        f"no call begun over {_LATE} s after the trip went through before the circuit closed",
        figures.latest_late_call <= _LATE,
        f"{figures.late_calls} began later than the trip"
        + (f", the last one {figures.latest_late_call:.3f} s" if figures.late_calls else ""),
    )


def _rejections_are_cheap(figures: Figures) -> Claim:
    rejection, failure = figures.rejection_median, figures.failure_mean
    if rejection is None or failure is None:
        return Claim("a rejection costs next to nothing", False, "there was none to measure")
    return Claim(
        f"a rejection takes less than a {_TIMES_FASTER}th of the time of a failing call",
        rejection * _TIMES_FASTER < failure,
        f"{rejection * 1e6:.0f} us against {failure:.2f} s",
    )


def _one_probe_at_a_time(turns: Turns, figures: Figures) -> Iterator[Claim]:
    outcomes = [probe.outcome.value for probe in turns.probes]
    yield Claim(
        "each half-open period let one probe through: the first failed, the second closed",
        outcomes == [Outcome.FAILURE.value, Outcome.SUCCESS.value],
        ", ".join(outcomes) or "no probe",
    )
    yield Claim(
        "the service never worked on two probes at once",
        figures.probes_at_once == 1,
        f"{figures.probes_at_once} at once at the most",
    )


def _no_other_request(seen: Evidence, turns: Turns) -> Claim:
    text = "while the circuit kept calls away, nothing but probes reached the service"
    if turns.closing is None or len(turns.first_rejections) < len(seen.pids):
        return Claim(text, False, "the circuit did not go all the way")
    probes = {probe.call for probe in turns.probes}
    begun_ns = max(call.ended_ns for call in turns.first_rejections.values())
    between = [
        request.call
        for request in seen.requests
        if begun_ns < request.begun_ns < turns.closing.finished_ns
    ]
    others = [call for call in between if call not in probes]
    return Claim(text, not others, f"{len(between)} requests, {len(others)} of them no probes")


def _all_well_at_last(seen: Evidence, turns: Turns) -> Claim:
    text = "after the circuit closed, every call of every process succeeded"
    if turns.closing is None:
        return Claim(text, False, "it did not close")
    begin_ns = turns.closing.ended_ns + int(_LATE * _NS)
    late = [call for call in seen.calls if call.begun_ns > begin_ns]
    good = [call for call in late if call.outcome is Outcome.SUCCESS]
    workers = {call.worker for call in good}
    return Claim(
        text,
        len(good) == len(late) and workers == set(seen.pids),
        f"{len(good)} of {len(late)} calls, by {len(workers)} processes",
    )


def _counted_alike(seen: Evidence, figures: Figures) -> Claim:
    counted = seen.stored.total_successes
    return Claim(
        "Redis counted the successes that the processes had",
        counted == figures.successes,
        f"{counted} and {figures.successes}",
    )


def _no_trouble(seen: Evidence) -> Claim:
    troubles: Sequence[str] = seen.troubles
    return Claim("nothing else went wrong", not troubles, "; ".join(troubles) or "nothing did")
