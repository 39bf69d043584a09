#!/usr/bin/env python3
"""Other breakers for Python and ours: the same work, the same run, the same Redis.

Two classes apart. In process: the others keep their circuits in their process, ours shares
them through Redis as always. On Redis: the others share through Redis as well. All guard an
empty function, without listeners and with thresholds that no bench reaches.

Needs the others: pip install 'bb5-breaker[bench]'. Whichever is missing is left out and named.
(c-breaker is no extra and not compared: PyPI has no package of that name any more.)

Ratios count, times are the machine's. Ends with 1 when a ratio is over its bar.

    scripts/bench_compare.py [--json] [--quick] [--url redis://...]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _benches.competitors import tell_missing
from _benches.contest import Contest, Work, libraries, ours
from _benches.guards import Decorator, forget_circuits
from _benches.options import Effort, effort_of, parser_for
from _benches.ours import use_server
from _benches.place import Place, open_place
from _benches.report import Report, at_most
from _benches.timing import Times

from bb5_breaker import CircuitBreaker

BARS = {
    "in process, success: decorated / circuitbreaker": at_most(1.0),
    "in process, success: decorated / pybreaker": at_most(0.5),
    "in process, success: call / pybreaker": at_most(1.0),
    "in process, success: with protect() / pybreaker": at_most(1.0),
    "in process, rejection: decorated / circuitbreaker": at_most(1.0),
    "in process, async, success: decorated / aiobreaker": at_most(1.0),
    "on Redis, failure: decorated / pybreaker": at_most(0.6),
    "on Redis, success: strict / pybreaker": at_most(1.2),
    "on Redis, round trips of a strict success": at_most(2.0),
    "on Redis, round trips of a failure": at_most(1.0),
}
COUNTED_CALLS = 300
MINE = ("decorated", "call", "with protect()", "strict")
NOTES = (
    "interlock-cb counts each process's calls in that process and shares through Redis only "
    "that a circuit is open; the others on Redis, and ours, count the calls of the fleet.",
)


def by_call(breaker: CircuitBreaker) -> Decorator:
    """Guard a function by handing it to the breaker's call()."""
    return lambda func: partial(breaker.call, func)


def by_block(breaker: CircuitBreaker) -> Decorator:
    """Guard a function by a with block around it."""

    def decorate(func: Callable[..., Any]) -> Callable[..., Any]:
        def guarded() -> None:
            with breaker.protect():
                func()

        return guarded

    return decorate


def contests(place: Place, runner: asyncio.Runner) -> list[Contest]:
    """Return the contests: in process and on Redis, of plain and of coroutine functions."""
    on_redis = [ours("decorated"), ours("strict", consistency="strict")]
    ways = [ours("decorated"), ours("call", by_call), ours("with protect()", by_block)]
    return [
        Contest("in process", [*ways, *libraries("local")], place, shared=False),
        Contest(
            "in process, async",
            [ours("decorated"), *libraries("local_async")],
            place,
            shared=False,
            runner=runner,
        ),
        Contest("on Redis", [*on_redis, *libraries("shared")], place, shared=True),
        Contest("on Redis, async", [*on_redis, *libraries("shared_async")], place, True, runner),
    ]


def compare(contest: Contest, effort: Effort, report: Report) -> None:
    """Hold one contest and tell its ratios and figures."""
    for work in Work:
        times = contest.hold(work, effort)
        tell_ratios(report, f"{contest.name}, {work}", times)
        tell_figures(report, f"{contest.name}, ns", work, times.medians())
        if contest.shared:
            trips = contest.count_round_trips(work, COUNTED_CALLS)
            tell_figures(report, f"{contest.name}, round trips of a call", work, trips)


def tell_ratios(report: Report, title: str, times: Times) -> None:
    """Report our time by that of each other library, and every ratio that has a bar."""
    others = [name for name in times.rounds if name not in MINE]
    for mine in (name for name in MINE if name in times.rounds):
        for other in others:
            name = f"{title}: {mine} / {other}"
            if mine == "decorated" or name in BARS:
                report.add_ratio(name, times.ratio(mine, other))


def tell_figures(report: Report, title: str, work: Work, found: dict[str, float]) -> None:
    """Add a column to a table of figures."""
    table = report.figures.setdefault(title, {})
    for name, figure in found.items():
        table.setdefault(name, {})[str(work)] = figure


def main() -> int:
    """Measure and tell."""
    options = parser_for(__doc__).parse_args()
    report, effort = Report(BARS, notes=[*NOTES, *tell_missing()]), effort_of(options)
    with open_place(options.url) as place, asyncio.Runner() as runner:
        use_server(place.url, place.prefix)
        for contest in contests(place, runner):
            compare(contest, effort, report)
            runner.run(forget_circuits())
    trips = report.figures["on Redis, round trips of a call"]
    report.add_ratio("on Redis, round trips of a strict success", trips["strict"]["success"])
    report.add_ratio("on Redis, round trips of a failure", trips["decorated"]["failure"])
    return report.print(options.json)


if __name__ == "__main__":
    sys.exit(main())
