#!/usr/bin/env python3
"""Server time of one report against four plain commands, on every server found.

The script `record` is compared with HMGET, HINCRBY, ZADD and ZREMRANGEBYRANK together, by
INFO commandstats, in one run on one server; the ratio counts, the microseconds are the
machine's. `--json` prints one document. Ends with 1 when a success costs three times the
four commands or more.

    scripts/bench_record.py [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import redis

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.commands import Outcome, Record, Run
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.redis_store import RedisStore
from tests.support.servers import discover, start

ROUNDS = 7
CALLS = 500
FOUR = ("hmget", "hincrby", "zadd", "zremrangebyrank")
KINDS = {
    "success": (Outcome.SUCCESS,),
    "failure": (Outcome.FAILURE,),
    "alternating": (Outcome.SUCCESS, Outcome.FAILURE),
}


def least_us(client: redis.Redis, work: Callable[[], Any], commands: tuple[str, ...]) -> float:
    """Return the least server time of one piece of work in us, of several rounds."""
    rounds = []
    for _ in range(ROUNDS):
        work()
        client.config_resetstat()
        for _ in range(CALLS):
            work()
        stats = client.info("commandstats")
        rounds.append(sum(stats[f"cmdstat_{name}"]["usec"] for name in commands) / CALLS)
    return min(rounds)


def four_commands(client: redis.Redis) -> Callable[[], None]:
    """Return work that runs the four plain commands on a set of a hundred."""
    numbers = count()

    def work() -> None:
        number = next(numbers)
        client.hmget("plain:h", "state", "generation", "failures", "window")
        client.hincrby("plain:h", "failures", 1)
        client.zadd("plain:z", {f"{number}:success": number})
        client.zremrangebyrank("plain:z", 0, -101)

    return work


def reports(url: str, kind: str) -> Callable[[], None]:
    """Return work that reports one outcome after the other to a circuit with a full window."""
    store = RedisStore(client_from_url(url, 5.0), StoreRules(prefix=f"bench-{kind}"), url)
    circuit = Circuit.of("svc", CircuitBreakerConfig(failure_threshold=1_000_000))
    outcomes: Iterator[Outcome] = cycle(KINDS[kind])
    for _ in range(150):
        store.run(Record(circuit, 0, "", (Run(next(outcomes), 1),), "Error"))

    def work() -> None:
        store.run(Record(circuit, 0, "", (Run(next(outcomes), 1),), "Error"))

    return work


def measure(url: str, client: redis.Redis) -> dict[str, Any]:
    """Return the figures of one server."""
    plain = least_us(client, four_commands(client), FOUR)
    figures: dict[str, Any] = {"four_commands_us": round(plain, 2)}
    for kind in KINDS:
        spent = least_us(client, reports(url, kind), ("evalsha",))
        figures[kind] = {"ratio": round(spent / plain, 2), "us": round(spent, 2)}
    return figures


def main() -> int:
    """Measure all servers and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args().json
    found: dict[str, Any] = {}
    for kind in discover():
        server = start(kind)
        try:
            found[kind.name] = measure(server.url, server.client())
        finally:
            server.stop()
        if not as_json:
            ratios = ", ".join(f"{name} {found[kind.name][name]['ratio']:.1f}" for name in KINDS)
            print(f"{kind.name}: times the four commands: {ratios}  {found[kind.name]}")
    if as_json:
        print(json.dumps(found))
    return int(any(figures["success"]["ratio"] >= 3 for figures in found.values()))


if __name__ == "__main__":
    sys.exit(main())
