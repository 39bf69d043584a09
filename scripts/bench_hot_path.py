#!/usr/bin/env python3
"""What one guarded call costs, layer by layer, in ns, in one run on one server.

  closed      a bare call, and the ways to guard it while all is well (no call_timeout)
  deadline    with a call_timeout, against a bare hand-over to a waiting thread and back (on
              one CPU, lest the scheduler's choice of CPUs decide)
  open        a rejection
  async       a guarded coroutine function, against a bare await and aiobreaker
  redis       a failing call and a call of consistency="strict", against PINGs; round trips
  growth      calls in a process with 1, 100 and 10,000 circuits: of one of them, and round all

Ratios count, nanoseconds are the machine's. Ends with 1 when a ratio is over its bar.

    scripts/bench_hot_path.py [--json] [--quick] [--url redis://...]
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _benches.competitors import installed, tell_missing
from _benches.growth import CIRCUITS, measure_growth
from _benches.guards import Rules
from _benches.handover import BareHandOver, one_cpu
from _benches.options import Effort, effort_of, parser_for
from _benches.ours import NEVER, fail, make_breaker, succeed, trip, use_server
from _benches.place import Place, count_traffic, open_place
from _benches.report import Report, at_most
from _benches.timing import Contender, Times, awaiting, calling, raising, take_turns

from bb5_breaker import CircuitBreakerOpenError

BARS = {
    "call_timeout / bare hand-over": at_most(1.3),
    "async success / aiobreaker": at_most(1.0),
    "strict success / two PINGs": at_most(1.4),
    "round trips of a strict success": at_most(2.0),
    "round trips of a failure": at_most(1.0),
    "one circuit among 10000 / alone": at_most(1.25),
}
COUNTED_CALLS = 500


def measure_closed(effort: Effort) -> Times:
    """Measure the ways to guard a call that succeeds."""
    breaker = make_breaker("closed")

    def with_block() -> None:
        with breaker.protect():
            succeed()

    return take_turns(
        [
            calling("bare call", succeed),
            calling("decorated", breaker.decorate(succeed)),
            calling("call", partial(breaker.call, succeed)),
            calling("with protect()", with_block),
            calling("call_result", partial(breaker.call_result, succeed)),
        ],
        effort,
    )


def measure_deadline(effort: Effort) -> Times:
    """Measure a call with a call_timeout against the bare hand-over."""
    guarded = make_breaker("deadline", call_timeout=30.0).decorate(succeed)
    with one_cpu(), BareHandOver(succeed) as bare:
        return take_turns(
            [calling("bare hand-over", bare.call), calling("call_timeout=30", guarded)], effort
        )


def measure_open(effort: Effort) -> Times:
    """Measure rejections."""
    breaker = make_breaker("open", threshold=1)
    guarded = breaker.decorate(fail)
    trip(guarded, CircuitBreakerOpenError)

    def with_block() -> None:
        with breaker.protect():
            fail()

    error = CircuitBreakerOpenError
    return take_turns(
        [
            raising("bare raise", fail, ValueError),
            raising("decorated", guarded, error),
            raising("call", partial(breaker.call, fail), error),
            raising("with protect()", with_block, error),
            calling("call_result", partial(breaker.call_result, fail)),
        ],
        effort,
    )


def measure_async(place: Place, effort: Effort, runner: asyncio.Runner) -> Times:
    """Measure guarded coroutine functions."""

    async def succeed_async() -> None:
        """Do nothing."""

    contenders = [
        awaiting("bare await", runner, succeed_async),
        awaiting("decorated", runner, make_breaker("async").decorate(succeed_async)),
    ]
    for library in installed():
        if library.package == "aiobreaker" and library.local_async is not None:
            guard = library.local_async(Rules(f"{place.prefix}-hot", NEVER))
            contenders.append(awaiting(library.package, runner, guard(succeed_async)))
    return take_turns(contenders, effort)


def measure_redis(place: Place, effort: Effort, report: Report) -> Times:
    """Measure calls that ask Redis, and count their round trips."""
    strict = make_breaker("strict", consistency="strict").decorate(succeed)
    failing = make_breaker("failing").decorate(fail)
    contenders = [
        calling("PING", place.client.ping),
        calling("strict success", strict),
        raising("failure", failing, ValueError),
    ]
    times = take_turns(contenders, effort)
    counted = {each.name: _count(place, each) for each in contenders}
    for name in ("strict success", "failure"):
        report.add_ratio(f"round trips of a {name}", round(counted[name]["round_trips"], 1))
    report.figures["traffic of a call"] = counted
    return times


def _count(place: Place, contender: Contender) -> dict[str, float]:
    traffic = count_traffic(place.client, lambda: contender.run(COUNTED_CALLS))
    return traffic.a_call(COUNTED_CALLS)


def measure(place: Place, effort: Effort, report: Report) -> None:
    """Measure everything."""
    use_server(place.url, place.prefix)
    report.notes += tell_missing()
    closed, deadline, rejected = (
        measure_closed(effort),
        measure_deadline(effort),
        measure_open(effort),
    )
    with asyncio.Runner() as runner:
        awaited = measure_async(place, effort, runner)
    asked = measure_redis(place, effort, report)
    hot, turns = measure_growth(place, effort)
    report.add_ratio("decorated / bare call", closed.ratio("decorated", "bare call"))
    report.add_ratio(
        "call_timeout / bare hand-over", deadline.ratio("call_timeout=30", "bare hand-over")
    )
    report.add_ratio("async success / bare await", awaited.ratio("decorated", "bare await"))
    report.add_ratio("async success / aiobreaker", awaited.ratio("decorated", "aiobreaker"))
    report.add_ratio("strict success / two PINGs", asked.ratio("strict success", "PING", 2))
    report.add_ratio("failure / PING", asked.ratio("failure", "PING"))
    most = str(CIRCUITS[-1])
    report.add_ratio(f"one circuit among {most} / alone", hot.ratio(most, "1"))
    report.add_ratio(f"round all {most} circuits / one alone", turns.ratio(most, "1"))
    for title, times in {
        "closed, ns": closed,
        "deadline, ns": deadline,
        "open, ns": rejected,
        "async, ns": awaited,
        "redis, ns": asked,
        "growth, one circuit of so many, ns": hot,
        "growth, round all circuits, ns": turns,
    }.items():
        report.figures[title] = times.medians()


def main() -> int:
    """Measure and tell."""
    options = parser_for(__doc__).parse_args()
    report = Report(BARS)
    with open_place(options.url) as place:
        measure(place, effort_of(options), report)
    return report.print(options.json)


if __name__ == "__main__":
    sys.exit(main())
