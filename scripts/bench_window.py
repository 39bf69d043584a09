#!/usr/bin/env python3
"""Server time of a script as the window grows, and as what is reported at once grows.

  window  full windows of 100, 1,000 and 10,000 calls: of successes ("healthy"), or of successes
          and failures in turns ("alternating", the most runs that a window can hold); scripts
          that admit a call, report calls (100 successes; a success and a failure), and read all
  batch   what is reported to a window of 10,000: a run of 1, 100 and 10,000 successes to a
          healthy one; 1, 10 and 100 runs in turns to an alternating one

By INFO commandstats, in one run on one server; ratios count, microseconds are the machine's.
Ends with 1 when a report to the largest window costs more than its bar.

    scripts/bench_window.py [--json] [--quick] [--url redis://...]
"""

from __future__ import annotations

import sys
from itertools import cycle, islice, repeat
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _benches.options import Effort, parser_for
from _benches.ours import NEVER
from _benches.place import Place, open_place
from _benches.report import Report, at_most
from _benches.timing import Contender, Times, take_turns

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.commands import Admit, Command, Outcome, Record, Run, Snapshot
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.redis_store import RedisStore

BARS = {
    "healthy window, report: 10000 / 100": at_most(1.25),
    "alternating window, report: 10000 / 100": at_most(1.25),
}
WINDOWS = (100, 1_000, 10_000)
# Seconds of the server's time, of which most calls take some ten millionths.
LONG, QUICK = Effort(rounds=11, seconds=0.004), Effort(rounds=3, seconds=0.0005)

Runs = tuple[Run, ...]


def successes(count: int) -> Runs:
    """Return one run of successes."""
    return (Run(Outcome.SUCCESS, count),)


def in_turns(count: int) -> Runs:
    """Return so many runs of one call each, a success first."""
    outcomes = islice(cycle((Outcome.SUCCESS, Outcome.FAILURE)), count)
    return tuple(Run(outcome, 1) for outcome in outcomes)


REPORTS = {"healthy": successes(100), "alternating": in_turns(2)}
FILLS = {"healthy": successes(100), "alternating": in_turns(100)}


class Bench:
    """Makes circuits on a server, and contenders whose time is the server's.

    Args:
        place: The server.
    """

    def __init__(self, place: Place) -> None:
        self._client = place.client
        rules = StoreRules(prefix=place.prefix)
        self._store = RedisStore(client_from_url(place.url, 10.0), rules, place.url)
        self._circuits = 0

    def fill_circuit(self, kind: str, size: int) -> Circuit:
        """Return a new circuit whose window is full."""
        self._circuits += 1
        config = CircuitBreakerConfig(failure_threshold=NEVER, sliding_window_size=size)
        circuit = Circuit.of(f"window-{self._circuits}", config)
        for _ in range(size // 100 + 2):
            self._store.run(report(circuit, FILLS[kind]))
        return circuit

    def contender(self, name: str, command: Command) -> Contender:
        """Return a contender that runs the command again and again."""

        def run(count: int) -> float:
            before = self._script_seconds()
            for _ in repeat(None, count):
                self._store.run(command)
            return self._script_seconds() - before

        return Contender(name, run)

    def _script_seconds(self) -> float:
        stats: Any = self._client.info("commandstats")
        return float(stats["cmdstat_evalsha"]["usec"]) / 1e6


def report(circuit: Circuit, runs: Runs) -> Record:
    """Return the report of calls."""
    return Record(circuit, 0, "", runs, "Error")


def measure_windows(bench: Bench, effort: Effort) -> Times:
    """Measure scripts by the size of the window; named "kind window, script: size"."""
    contenders = []
    for kind, runs in REPORTS.items():
        for size in WINDOWS:
            circuit = bench.fill_circuit(kind, size)
            for script, command in (
                ("admit", Admit(circuit, "token")),
                ("report", report(circuit, runs)),
                ("read", Snapshot(circuit)),
            ):
                contenders.append(bench.contender(f"{kind} window, {script}: {size}", command))
    return take_turns(contenders, effort)


def measure_batches(bench: Bench, effort: Effort) -> Times:
    """Measure reports by what they hold."""
    healthy = bench.fill_circuit("healthy", WINDOWS[-1])
    alternating = bench.fill_circuit("alternating", WINDOWS[-1])
    batches = [(f"a run of {count}", healthy, successes(count)) for count in (1, 100, 10_000)]
    batches += [(f"runs in turns: {count}", alternating, in_turns(count)) for count in (1, 10, 100)]
    return take_turns(
        [bench.contender(name, report(circuit, runs)) for name, circuit, runs in batches], effort
    )


def tell(windows: Times, batches: Times, found: Report) -> None:
    """Report ratios and figures."""
    least, most = WINDOWS[0], WINDOWS[-1]
    for kind in REPORTS:
        for script in ("report", "admit", "read"):
            title = f"{kind} window, {script}"
            ratio = windows.ratio(f"{title}: {most}", f"{title}: {least}")
            found.add_ratio(f"{title}: {most} / {least}", ratio)
    for name, base in (
        ("a run of 10000", "a run of 1"),
        ("runs in turns: 100", "runs in turns: 1"),
    ):
        ratio = batches.ratio(name, base)
        found.add_ratio(f"report of {name} / {base}", ratio)
    for title, times in (("by window, server us", windows), ("by batch, server us", batches)):
        found.figures[title] = {name: round(ns / 1000, 2) for name, ns in times.medians().items()}


def main() -> int:
    """Measure and tell."""
    options = parser_for(__doc__).parse_args()
    effort = QUICK if options.quick else LONG
    found = Report(BARS)
    with open_place(options.url) as place:
        bench = Bench(place)
        tell(measure_windows(bench, effort), measure_batches(bench, effort), found)
    return found.print(options.json)


if __name__ == "__main__":
    sys.exit(main())
