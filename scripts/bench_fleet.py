#!/usr/bin/env python3
"""A fleet of processes on one circuit: calls a second, what Redis has to do, and how soon all know.

  calls     protected calls a second of one process, of pybreaker on Redis (one process), and
            of all processes at once; all of them must be counted in the end
  Redis     commands for 1,000 calls (those within scripts included), and the server's CPU time
            for 1,000,000, with all processes at full speed
  opening   from the return of the call that trips the circuit to the rejection by the last of
            the other, idle workers, each of which makes a call every 0.5 ms; without delay, and
            through a proxy that holds up each chunk in each direction

Ratios count, times are the machine's. Ends with 1 when a ratio misses its bar.

    scripts/bench_fleet.py [--processes 8] [--seconds 6] [--delay-ms 1] [--json] [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import redis
from _benches.competitors import installed, tell_missing
from _benches.crew import Hand, hire, hire_all
from _benches.options import parser_for
from _benches.ours import make_breaker, use_server
from _benches.place import Place, count_traffic, open_place
from _benches.proxy import slow_network
from _benches.report import Report, at_least, at_most, exactly
from _benches.timing import calling
from _benches.workers import call_by_ours, call_by_pybreaker, watch_circuit

BARS = {
    "calls a second, one process / pybreaker on Redis": at_least(100.0),
    "Redis commands for 1,000 calls": at_most(1.0),
    "calls counted / calls made": exactly(1.0),
    "ms until the last worker rejects, p99": at_most(10.0),
}
ROUNDS, PINGS = 3, 20
ONE, ALL, OTHER = "one process", "all processes", "pybreaker on Redis, one process"


@dataclass(frozen=True, slots=True)
class Turn:
    """What processes did in some time at full speed.

    Args:
        calls: Calls that they made.
        seconds: How long each of them made calls.
        commands: Commands that the server ran for them.
        cpu: Seconds of CPU time that it took for that.
    """

    calls: int
    seconds: float
    commands: int
    cpu: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


def run_turn(place: Place, hands: list[Hand], seconds: float) -> Turn:
    """Have processes make calls at once."""
    answers: list[int] = []

    def work() -> None:
        for hand in hands:
            hand.order(seconds)
        answers.extend(hand.answer() for hand in hands)

    before = server_cpu(place)
    traffic = count_traffic(place.client, work)
    return Turn(sum(answers), seconds, traffic.commands, server_cpu(place) - before)


def server_cpu(place: Place) -> float:
    """Return the seconds of CPU time that the server has used so far."""
    info: Any = place.client.info("cpu")
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


def measure_calls(place: Place, processes: int, seconds: float) -> dict[str, list[Turn]]:
    """Measure calls at full speed: one process, all processes, pybreaker, round by round."""
    arguments = (place.url, place.prefix)
    with ExitStack() as stack:
        hands = stack.enter_context(hire_all(processes, call_by_ours, *arguments))
        contenders = {ONE: hands[:1], ALL: hands}
        if any(each.package == "pybreaker" for each in installed()):
            contenders[OTHER] = [stack.enter_context(hire(call_by_pybreaker, *arguments))]
        turns: dict[str, list[Turn]] = {name: [] for name in contenders}
        for _ in range(1 + ROUNDS):
            for name, each in contenders.items():
                turns[name].append(run_turn(place, each, seconds / ROUNDS))
    return turns


def tell_calls(place: Place, processes: int, turns: dict[str, list[Turn]], report: Report) -> None:
    """Report what calls at full speed came to."""
    # In the first round the processes start and connect.
    timed = {name: each[1:] for name, each in turns.items()}
    rates = {name: [turn.rate for turn in each] for name, each in timed.items()}
    report.figures["calls a second"] = {name: round(median(each)) for name, each in rates.items()}
    report.add_ratio("calls a second, all / one process", ratio_of(rates[ALL], rates[ONE]))
    if OTHER in rates:
        ratio = ratio_of(rates[ONE], rates[OTHER])
        report.add_ratio("calls a second, one process / pybreaker on Redis", ratio)
    for title, figure in (
        ("Redis commands for 1,000 calls", lambda turn: turn.commands / turn.calls * 1e3),
        ("server CPU seconds for 1,000,000 calls", lambda turn: turn.cpu / turn.calls * 1e6),
    ):
        report.figures[title] = {
            name: float(f"{median(map(figure, each)):.3g}") for name, each in timed.items()
        }
    commands = report.figures["Redis commands for 1,000 calls"]
    report.add_ratio("Redis commands for 1,000 calls", commands[ALL])
    use_server(place.url, place.prefix)
    counted = make_breaker("fleet").stats.total_calls
    made = processes + sum(turn.calls for name in (ONE, ALL) for turn in turns[name])
    report.add_ratio("calls counted / calls made", counted / made)


def ratio_of(rates: list[float], base: list[float]) -> float:
    """Return the median of the ratios within each round."""
    return median(own / other for own, other in zip(rates, base, strict=True))


def measure_opening(url: str, prefix: str, processes: int, trips: int) -> list[float]:
    """Measure, trip by trip, the ms from the tripping call's return to the last rejection."""
    found = []
    with hire_all(processes, watch_circuit, url, prefix, f"opening-{time.monotonic_ns()}") as hands:
        first, *others = hands
        for _ in range(trips):
            for hand in others:
                hand.ask("wait")
                hand.order("watch")
            # Idle: what was reported before this trip must not be under way any more.
            time.sleep(0.01)
            tripped = first.ask("trip")
            rejected = [hand.answer() for hand in others]
            found.append((max(rejected) - tripped) * 1000)
            first.ask("close")
    return found


def ping_ms(url: str) -> float:
    """Return how long a PING takes."""
    with redis.Redis.from_url(url) as client:
        client.ping()
        pings = calling("PING", client.ping)
        return median(pings.run(1) for _ in range(PINGS)) * 1000


def tell_opening(report: Report, title: str, found: list[float]) -> None:
    """Report the times of an opening as percentiles."""
    report.figures[f"{title}, {len(found)} trips"] = {
        name: round(percentile(found, share), 2)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
    }


def percentile(found: list[float], share: float) -> float:
    """Return the value that the share of all does not exceed."""
    return sorted(found)[ceil(share * len(found)) - 1]


def read_options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = parser_for(__doc__)
    parser.add_argument("--processes", type=int, help="workers, 2 or more; 8, or 4 when quick")
    parser.add_argument("--seconds", type=float, help="time at full speed of each contender")
    parser.add_argument("--delay-ms", type=float, default=1.0, help="delay in each direction")
    options = parser.parse_args()
    if options.processes is None:
        options.processes = 4 if options.quick else 8
    if options.processes < 2:
        parser.error("--processes must be 2 or more: one trips, the others watch")
    if options.seconds is None:
        options.seconds = 0.6 if options.quick else 6.0
    return options


def main() -> int:
    """Measure and tell."""
    options = read_options()
    report = Report(BARS, notes=tell_missing())
    trips = 10 if options.quick else 100
    with open_place(options.url) as place:
        turns = measure_calls(place, options.processes, options.seconds)
        tell_calls(place, options.processes, turns, report)
        found = measure_opening(place.url, place.prefix, options.processes, trips)
        report.add_ratio("ms until the last worker rejects, p99", percentile(found, 0.99))
        tell_opening(report, "ms until the last worker rejects", found)
        with slow_network(place.url, options.delay_ms / 1000) as slow:
            found = measure_opening(slow, place.prefix, options.processes, trips)
            report.figures["ms of a PING through the delay"] = round(ping_ms(slow), 2)
        tell_opening(report, f"the same with {options.delay_ms:g} ms of delay each way", found)
    return report.print(options.json)


if __name__ == "__main__":
    sys.exit(main())
