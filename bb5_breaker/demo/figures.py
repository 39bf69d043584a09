"""The figures of a demo, worked out from what was seen. No input, no output, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Final

from bb5_breaker.demo.evidence import Evidence
from bb5_breaker.demo.records import Call, Outcome, Request, seconds_between
from bb5_breaker.state import CircuitState

__all__ = [
    "Figures",
    "RejectionTimes",
    "Turns",
    "find_turns",
    "most_at_once",
    "time_rejections",
    "work_out",
]

_HALF_OPEN: Final = CircuitState.HALF_OPEN.value
_CLOSED: Final = CircuitState.CLOSED.value


@dataclass(frozen=True, slots=True)
class Turns:
    """The moments on which a demo turns.

    Args:
        tripping: The call whose failure opened the circuit.
        first_rejections: The first rejected call of each worker after it, by worker.
        probes: Calls that were let through while half-open, in order.
        closing: The probe whose success closed the circuit.
    """

    tripping: Call | None
    first_rejections: dict[int, Call]
    probes: Sequence[Call]
    closing: Call | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a demo came to; times in seconds, None where the moment never came.

    Args:
        calls: Calls that the workers made.
        successes: Those that succeeded.
        failures: Those that failed.
        rejections: Those that the circuit did not let through.
        requests: Requests that the service saw.
        rejection_median: Time that a rejection takes, median.
        rejection_p99: The same, 99th percentile.
        failure_mean: Time that a failing call takes, mean.
        rejection_mean: Time that a rejection takes, mean.
        time_saved: rejections * (failure_mean - rejection_mean).
        probes: Calls that were let through while half-open.
        probes_at_once: The most of them that the service worked on at the same time.
        all_rejecting_after: From the tripping failure until the last worker had its first call
            rejected.
        late_calls: Calls that were let through as if the circuit were closed although they began
            after the tripping call had returned, and before the circuit closed again.
        latest_late_call: How long after that return the latest of them began; 0 without one.
    """

    calls: int
    successes: int
    failures: int
    rejections: int
    requests: int
    rejection_median: float | None
    rejection_p99: float | None
    rejection_mean: float | None
    failure_mean: float | None
    time_saved: float | None
    probes: int
    probes_at_once: int
    all_rejecting_after: float | None
    late_calls: int
    latest_late_call: float


@dataclass(frozen=True, slots=True)
class RejectionTimes:
    """How long rejections took, in seconds; None without one."""

    number: int
    mean: float | None
    median: float | None
    p99: float | None


def work_out(seen: Evidence, turns: Turns) -> Figures:
    """Return the figures of a demo."""
    outcomes = [call.outcome for call in seen.calls]
    rejections = time_rejections(seen.calls)
    failures = [
        seconds_between(call.begun_ns, call.finished_ns)
        for call in seen.calls
        if call.outcome is Outcome.FAILURE
    ]
    failure_mean = fmean(failures) if failures else None
    late = _late_calls(seen, turns)
    return Figures(
        calls=len(outcomes),
        successes=outcomes.count(Outcome.SUCCESS),
        failures=outcomes.count(Outcome.FAILURE),
        rejections=outcomes.count(Outcome.REJECTED),
        requests=len(seen.requests),
        rejection_median=rejections.median,
        rejection_p99=rejections.p99,
        rejection_mean=rejections.mean,
        failure_mean=failure_mean,
        time_saved=_time_saved(rejections.number, failure_mean, rejections.mean),
        probes=len(turns.probes),
        probes_at_once=most_at_once(_probe_requests(seen, turns)),
        all_rejecting_after=_all_rejecting_after(seen, turns),
        late_calls=len(late),
        latest_late_call=max(late, default=0.0),
    )


def time_rejections(calls: Sequence[Call]) -> RejectionTimes:
    """Return how long the rejected calls among these took."""
    times = sorted(seconds_between(call.begun_ns, call.ended_ns) for call in _rejected(calls))
    if not times:
        return RejectionTimes(0, None, None, None)
    return RejectionTimes(len(times), fmean(times), median(times), times[int(len(times) * 0.99)])


def find_turns(seen: Evidence) -> Turns:
    """Return the moments on which a demo turned."""
    calls = sorted(seen.calls, key=lambda call: call.begun_ns)
    tripping = _find_tripping(seen, calls)
    probes = [
        call for call in calls if call.state == _HALF_OPEN and call.outcome is not Outcome.REJECTED
    ]
    good = [call for call in probes if call.outcome is Outcome.SUCCESS]
    first: dict[int, Call] = {}
    for call in _rejected(calls):
        first.setdefault(call.worker, call)
    return Turns(tripping, first, probes, good[-1] if good else None)


def _probe_requests(seen: Evidence, turns: Turns) -> list[Request]:
    """Return the requests of the probes, as the service saw them."""
    ids = {call.call for call in turns.probes}
    return [request for request in seen.requests if request.call in ids]


def most_at_once(requests: Iterable[Request]) -> int:
    """Return how many requests were worked on at the same time, at the most."""
    # At one and the same moment an end comes before a beginning.
    steps = sorted(
        [(request.begun_ns, 1) for request in requests]
        + [(request.ended_ns, -1) for request in requests]
    )
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def _find_tripping(seen: Evidence, calls: Sequence[Call]) -> Call | None:
    """Return the last call of the process that opened the circuit, before it was rejected."""
    workers = {pid: number for number, pid in seen.pids.items()}
    if not seen.events or seen.events[0].pid not in workers:
        return None
    own = [call for call in calls if call.worker == workers[seen.events[0].pid]]
    for call, following in pairwise(own):
        if following.outcome is Outcome.REJECTED:
            return call if call.outcome is Outcome.FAILURE else None
    return None


def _rejected(calls: Iterable[Call]) -> list[Call]:
    return [call for call in calls if call.outcome is Outcome.REJECTED]


def _late_calls(seen: Evidence, turns: Turns) -> list[float]:
    if turns.tripping is None:
        return []
    open_ns = turns.tripping.ended_ns
    closed_ns = (
        turns.closing.finished_ns if turns.closing else max(call.begun_ns for call in seen.calls)
    )
    return [
        seconds_between(open_ns, call.begun_ns)
        for call in seen.calls
        if call.state == _CLOSED and open_ns < call.begun_ns < closed_ns
    ]


def _all_rejecting_after(seen: Evidence, turns: Turns) -> float | None:
    if turns.tripping is None or len(turns.first_rejections) < len(seen.pids):
        return None
    last_ns = max(call.ended_ns for call in turns.first_rejections.values())
    return seconds_between(turns.tripping.finished_ns, last_ns)


def _time_saved(number: int, failure: float | None, rejection: float | None) -> float | None:
    if failure is None or rejection is None:
        return None
    return number * (failure - rejection)
