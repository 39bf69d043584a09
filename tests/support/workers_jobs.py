"""What workers do on command; each job takes the worker's bench first."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import Any

from bb5_breaker import CircuitBreaker, CircuitBreakerOpenError
from bb5_breaker._core.flows import Permit
from bb5_breaker._shell.blocks import ProtectedBlock

from .workers_circuit import ServiceFailed, make_breaker


class Bench:
    """What one worker holds: its breaker, and the blocks that it has entered."""

    def __init__(
        self, url: str, prefix: str, service: str, config: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        self.breaker = make_breaker(url, prefix, service, settings, **config)
        self.blocks: list[ProtectedBlock] = []


def calls(bench: Bench, outcomes: str) -> str:
    """Make a call for each letter, s to succeed and f to fail; return s, f or r each."""
    return "".join(_call(bench, outcome) for outcome in outcomes)


def mixed_calls(bench: Bench, count: int, seed: int) -> list[int]:
    """Make calls that end by chance; return the numbers of successes and failures."""
    chance = random.Random(seed)
    ended = calls(bench, "".join(chance.choice("sf") for _ in range(count)))
    return [ended.count("s"), ended.count("f")]


def begin(bench: Bench) -> dict[str, Any]:
    """Enter a block and stay inside."""
    block = bench.breaker.protect()
    try:
        block.__enter__()
    except CircuitBreakerOpenError as rejection:
        return {
            "admitted": False,
            "state": rejection.state.value,
            "remaining": rejection.remaining_time,
            "retry_at": rejection.retry_at.timestamp() if rejection.retry_at else None,
        }
    bench.blocks.append(block)
    return {"admitted": True}


def end(bench: Bench, outcome: str) -> None:
    """Leave the block that was entered first, if any, as s, f or n (neutral) says."""
    if not bench.blocks:
        return
    errors = {"s": None, "f": ServiceFailed("failed"), "n": KeyboardInterrupt()}
    error = errors[outcome]
    bench.blocks.pop(0).__exit__(type(error) if error else None, error, None)


def begin_and_hold(bench: Bench, seconds: float, outcome: str) -> list[float] | None:
    """Run one call for some time; return its first and last moment, or None if rejected."""
    moments: list[float] = []

    def hold() -> None:
        moments.append(time.monotonic())
        time.sleep(seconds)
        moments.append(time.monotonic())
        if outcome == "f":
            raise ServiceFailed("failed")

    try:
        bench.breaker.call(hold)
    except ServiceFailed:
        pass
    except CircuitBreakerOpenError:
        return None
    return moments


def calls_until(bench: Bench, seconds: float) -> list[int]:
    """Make succeeding calls for some time; return how many returned, and how many did not."""
    good = bad = 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        result = bench.breaker.call_result(int)
        good += result.success
        bad += not result.success
    return [good, bad]


def steady_calls(bench: Bench, seconds: float, rate: float) -> dict[str, Any]:
    """Make calls at a rate; return when each began, the seconds it took, and what went wrong."""
    made: list[tuple[float, float]] = []
    wrong: list[str] = []
    begun = time.monotonic()
    for number in range(int(seconds * rate)):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        started = time.monotonic()
        try:
            bench.breaker.call(int)
        except Exception as error:
            wrong.append(repr(error))
        made.append((started, time.monotonic() - started))
    return {"made": made, "wrong": wrong}


def watched_calls(
    bench: Bench, until: float, hold: float, threads: int = 1, outcome: str = "s"
) -> list[list[float]]:
    """Call until a moment, on some threads; return the first and last moment of each call that
    was let through, in their order."""
    ran: list[list[float]] = []

    def call_on() -> None:
        while time.monotonic() < until:
            moments = begin_and_hold(bench, hold, outcome)
            if moments is not None:
                ran.append(moments)
            time.sleep(0.005)

    callers = [threading.Thread(target=call_on) for _ in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return sorted(ran)


def live_through(bench: Bench, end: str) -> dict[str, Any]:
    """Call until there is a file of that name, failing now and then while closed.

    Returns:
        How many calls ended, and of each probe: life of the circuit, generation, begin and end.
    """
    chance = random.Random(os.getpid())
    ended, probes = 0, []
    while not os.path.exists(end):
        block = bench.breaker.protect()
        try:
            block.__enter__()
        except CircuitBreakerOpenError:
            time.sleep(0.002)
            continue
        leave, begun = block._leave, time.monotonic()
        time.sleep(chance.uniform(0.0, 0.01))
        failed = chance.random() < 0.2
        if isinstance(leave, Permit) and leave.token is not None:
            probes.append([leave.epoch, leave.generation, begun, time.monotonic()])
            failed = False
        error = ServiceFailed("failed") if failed else None
        block.__exit__(type(error) if error else None, error, None)
        ended += 1
    return {"ended": ended, "probes": probes}


def check_health(bench: Bench, journal: str, seconds: float) -> None:
    """Have a health check from now on; it notes in a file who runs it.

    The first of all takes its time.
    """

    def check() -> None:
        with open(journal, "a", encoding="utf-8") as file:
            is_first = file.tell() == 0
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds * is_first)

    before = bench.breaker
    bench.breaker = CircuitBreaker(before.service_id, before.config, health_check=check)
    bench.breaker.call_result(int)


def flush(bench: Bench) -> None:
    """Report what gathered in the worker."""
    bench.breaker.flush()


def lifecycles(bench: Bench, count: int) -> int:
    """Fail while closed and succeed while half-open, until that many transitions happened."""
    own = 0
    while bench.breaker.stats.state_transitions < count:
        closed = bench.breaker.is_closed
        own += _call(bench, "f" if closed else "s") != "r"
    return own


def state(bench: Bench) -> str:
    """Return the circuit's state as the worker sees it."""
    return bench.breaker.state.value


def stats(bench: Bench) -> dict[str, Any]:
    """Return the circuit's figures as the worker sees them."""
    return bench.breaker.get_stats()


def read_clocks(bench: Bench) -> list[float]:
    """Return what the worker takes for the time."""
    return [time.time(), time.monotonic()]


def _call(bench: Bench, outcome: str) -> str:
    def work() -> None:
        if outcome == "f":
            raise ServiceFailed("failed")

    try:
        bench.breaker.call(work)
    except ServiceFailed:
        return "f"
    except CircuitBreakerOpenError:
        return "r"
    return "s"
