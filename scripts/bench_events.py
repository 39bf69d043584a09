#!/usr/bin/env python3
"""Time from a transition to the handlers of 8 idle processes that subscribed to the event bus.

  handler   from the moment in which the script that makes the transition is sent, in bytes made
            before, to the moment in which a handler is called, in each of the processes
  bare      the same for one redis-py client that waits in PubSub.get_message and decodes nothing

Ends with 1 when the median is over 2 ms or the 99th percentile over 10 ms. Processes compete for
the cores: with fewer than 10 cores the last ones to be woken wait for the first.

    scripts/bench_events.py [--json] [--quick] [--url redis://...]
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import redis
from _benches.crew import Hand, hire, hire_all
from _benches.options import parser_for
from _benches.place import Place, open_place
from _benches.report import Report, at_most

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.commands import Outcome, Record, Reset, Run
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.codec import Codec
from bb5_breaker._store.decoding import read_view
from bb5_breaker._store.senders import Sender
from bb5_breaker.event_bus import EventBusConfig, RedisEventBus
from bb5_breaker.events import Event

SUBSCRIBERS = 8
PAUSE_SECONDS = 0.01
BARS = {"handler, median, ms": at_most(2.0), "handler, p99, ms": at_most(10.0)}
LONG, QUICK = 500, 60

Arrivals = dict[int, float]


def subscriber(url: str, prefix: str) -> Callable[[Any], Arrivals]:
    """Be a process with a handler; return what tells when it was called for each generation."""
    arrivals: Arrivals = {}
    bus = RedisEventBus(EventBusConfig(url=url, prefix=prefix))
    bus.connect()

    def handler(topic: str, event: Event) -> None:
        arrivals[event.data["generation"]] = time.monotonic()

    bus.subscribe("circuit_breaker.*", handler)
    return lambda order: dict(arrivals)


def bare_subscriber(url: str, prefix: str) -> Callable[[Any], list[float]]:
    """Be a process that only waits for messages."""
    arrivals: list[float] = []
    heard = redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True)
    heard.psubscribe(f"{prefix}.*")

    def listen() -> None:
        while True:
            if heard.get_message(timeout=60.0):
                arrivals.append(time.monotonic())

    threading.Thread(target=listen, daemon=True).start()
    return lambda order: list(arrivals)


def make_transitions(place: Place, count: int) -> list[float]:
    """Open and close a circuit; return when each order went out, which was put in words before."""
    rules = StoreRules(prefix=place.prefix)
    config = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=3600.0)
    circuit, codec, sender = Circuit.of("bench", config), Codec(rules), Sender("bench")
    connection = client_from_url(place.url, 5.0).connection_pool.make_connection()
    sent, generation, epoch = [], 0, ""
    for number in range(count):
        sender.sequence += 1
        failure = (Run(Outcome.FAILURE, 1),)
        command = Reset(circuit) if number % 2 else Record(circuit, generation, epoch, failure, "E")
        call = codec.encode(command, sender)
        # The first two make the scripts known.
        order = call.request_with_source if number < 2 else call.request
        time.sleep(PAUSE_SECONDS)
        sent.append(time.monotonic())
        connection.send_packed_command([order])
        told = read_view(connection.read_response(disable_decoding=True))
        generation, epoch = told.generation, told.epoch
    connection.disconnect()
    time.sleep(1.0)
    return sent


def percentiles(samples: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, in ms."""
    cuts = quantiles(samples, n=100)
    return round(cuts[49] * 1000, 3), round(cuts[98] * 1000, 3)


def measure(place: Place, count: int, found: Report) -> None:
    """Measure and report."""
    with (
        hire_all(SUBSCRIBERS, subscriber, place.url, place.prefix) as hands,
        hire(bare_subscriber, place.url, place.prefix) as bare,
    ):
        ready: list[Hand] = [*hands, bare]
        for hand in ready:
            hand.ask(None)
        sent = make_transitions(place, count)
        heard: list[Arrivals] = [hand.ask(None) for hand in hands]
        bare_heard: list[float] = bare.ask(None)
    for arrivals in heard:
        if len(arrivals) != count:
            sys.exit(f"a subscriber heard {len(arrivals)} of {count} transitions")
    ours = [arrivals[n + 1] - at for arrivals in heard for n, at in enumerate(sent)]
    theirs = [arrived - at for arrived, at in zip(bare_heard, sent, strict=True)]
    for name, samples in (("handler", ours), ("bare", theirs)):
        median, p99 = percentiles(samples)
        found.add_ratio(f"{name}, median, ms", median)
        found.add_ratio(f"{name}, p99, ms", p99)
    found.figures["samples"] = len(ours)


def main() -> int:
    """Measure and tell."""
    options = parser_for(__doc__).parse_args()
    found = Report(BARS)
    with open_place(options.url) as place:
        measure(place, QUICK if options.quick else LONG, found)
    return found.print(options.json)


if __name__ == "__main__":
    sys.exit(main())
