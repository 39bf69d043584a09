#!/usr/bin/env python3
"""A fleet under random faults for a while, and a look at all that happened afterwards.

Processes (cached and strict, with a loop and without) call three circuits through a proxy while
workers and the server are stopped and killed, connections cut, delayed and lost, scripts flushed,
keys deleted, and the server flushed or restarted with and without its memory. Each process writes
down what came of each call, the server's own MONITOR what it did. Afterwards:

  places    never more probes at once than a circuit allows, by the server's own leases
  steps     each transition follows the last and is made once; processes are told of it once
  late      what is reported after its lease changes nothing
  open      an open circuit is not called, but for as long as a view may be believed
  calls     none fails because of the store; no process is stuck; all places are free in the end
  bounds    sockets, threads and memory

Prints a report with the seed, and ends with 1 and the lines of what was wrong.

    scripts/soak.py [--seconds 60] [--seed N] [--workers 8] [--keep-memory] [--keep DIRECTORY]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts._soak.checks import History, find_violations
from scripts._soak.fleet import Fleet
from scripts._soak.records import CallRecord, read_journal
from scripts._soak.rules import LEASE, SERVICES
from scripts._soak.weather import Weather
from scripts._soak.witness import Witness
from tests.support.processes import LocalServer
from tests.support.proxy import Proxy
from tests.support.servers import discover, start

_PREFIX = "soak"
_CALM_SECONDS = 3.0
_MOST_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a soak; return the exit code."""
    options = _parser().parse_args(arguments)
    seed = options.seed if options.seed is not None else random.randrange(1 << 20)
    print(f"soak: seed {seed}, {options.workers} workers, {options.seconds:g} s", flush=True)
    with ExitStack() as stack:
        directory = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise SystemExit(f"{directory} is not empty; name another with --keep")
        wrong = _run(options, seed, directory)
    for line in wrong[:_MOST_SHOWN]:
        print(f"VIOLATION {line}")
    if len(wrong) > _MOST_SHOWN:
        print(f"and {len(wrong) - _MOST_SHOWN} more")
    print(f"soak: {'FAILED' if wrong else 'passed'}, seed {seed}")
    return 1 if wrong else 0


def _run(options: argparse.Namespace, seed: int, directory: Path) -> list[str]:
    config = {"appendonly": "yes", "appendfsync": "always"}
    with ExitStack() as stack:
        server = stack.enter_context(start(discover()[0], config=config))
        assert isinstance(server, LocalServer)
        proxy = stack.enter_context(Proxy(server.url))
        witness = Witness(server, _PREFIX)
        stack.callback(witness.close)
        witness.await_readiness()
        fleet = Fleet(proxy.url, _PREFIX, directory, options.workers, seed)
        stack.callback(fleet.dismiss)
        for hand in fleet.living:
            fleet.await_calls(hand)
        weather = Weather(server, proxy, fleet, witness, _PREFIX, seed, options.keep_memory)
        weather.blow(options.seconds)
        calm_from = time.time()
        for hand in fleet.living:
            fleet.await_calls(hand)
        time.sleep(_CALM_SECONDS)
        ended = time.time()
        wrong = fleet.dismiss()
        wrong += _find_held(server)
    history = History(fleet.all, witness, weather.disturbances, calm_from, ended)
    wrong += find_violations(history)
    _report(history, weather)
    return wrong


def _find_held(server: LocalServer) -> list[str]:
    """Return the places that are still held a lease after the last process ended."""
    time.sleep(LEASE)
    with server.client() as client:
        seconds, microseconds = client.time()
        now = seconds * 1000 + microseconds // 1000
        held = {
            name: client.zrangebyscore(f"{_PREFIX}:{{{name}}}:probes", f"({now}", "+inf")
            for name in SERVICES
        }
    return [
        f"places of '{name}' are still held: {tokens}" for name, tokens in held.items() if tokens
    ]


def _report(history: History, weather: Weather) -> None:
    calls = [
        record
        for hand in history.hands
        for record in read_journal(hand.journal)
        if isinstance(record, CallRecord)
    ]
    verdicts = {letter: sum(call.verdict == letter for call in calls) for letter in "sfrx"}
    alone = sum(call.epoch.startswith("private@") for call in calls)
    witness = history.witness
    print(f"faults: {', '.join(f'{n} {c}' for n, c in sorted(weather.counts.items()))}")
    print(
        f"calls: {verdicts['s']} succeeded, {verdicts['f']} failed, {verdicts['r']} rejected, "
        f"{verdicts['x']} met an error of the store; {alone} guarded by a process alone"
    )
    print(
        f"server: {len(witness.transitions)} transitions, {witness.probes} probes, "
        f"{witness.most_at_once} at once at most, {witness.stale} results too late, "
        f"{witness.life} losses of memory, "
        f"{sum(one.reason == 'restored' for one in witness.transitions)} circuits given back"
    )


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long there are faults")
    parser.add_argument("--seed", type=int, help="of all chance; a random one when not given")
    parser.add_argument("--workers", type=int, default=8, help="processes at work")
    parser.add_argument(
        "--keep-memory", action="store_true", help="no fault that makes the server forget"
    )
    parser.add_argument("--keep", type=Path, help="leave the records in this directory")
    return parser


if __name__ == "__main__":
    sys.exit(main())
