"""What circuits take in a process: python -m tests.support.workers_memory <what> <url> <prefix>.

Each prints its figures as JSON.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import threading
import time
import tracemalloc
from typing import Any

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig

from .workers_circuit import fail_once, make_breaker

_RULES = CircuitBreakerConfig(call_timeout=None)


def idle_circuits(url: str, prefix: str) -> dict[str, Any]:
    """Call ten thousand circuits once each, wait until all are subscribed and reported."""
    first = make_breaker(url, prefix, "first")
    first.call(int)
    before, threads = _resident(), None
    breakers = [CircuitBreaker(f"svc-{number}", _RULES) for number in range(10_000)]
    for breaker in breakers:
        breaker.call(int)
        threads = threads or threading.active_count()
    board = breakers[0]._link().board
    _wait_until(lambda: not board.is_wanting)
    _wait_until(lambda: all(breaker._guard._view is not None for breaker in breakers))
    # Known, subscribed, and believed.
    for breaker in breakers:
        breaker.call(int)
    _wait_until(lambda: breakers[-1]._guard.decide() is not None)
    breakers[0]._link().flusher.flush_all()
    return {
        "megabytes": (_resident() - before) / 2**20,
        "threads": [threads, threading.active_count()],
        "believed": sum(breaker._guard.decide() is not None for breaker in breakers),
    }


def many_calls(url: str, prefix: str) -> dict[str, Any]:
    """Make a million decorated calls, and as many rejections as a tenth of that."""
    breaker = make_breaker(url, prefix, failure_threshold=1, timeout_seconds=60.0)
    guarded = breaker.decorate(int)
    _wait_until(lambda: guarded() == 0 and breaker._guard.decide() is not None)
    guarded()
    breaker.flush()
    left = {"calls": _left_by(breaker, lambda: _repeat(guarded, 1_000_000))}
    fail_once(breaker)
    left["rejections"] = _left_by(breaker, lambda: _reject(breaker, 100_000))
    return left


def _repeat(guarded: Any, count: int) -> None:
    for _ in range(count):
        guarded()


def _reject(breaker: CircuitBreaker, count: int) -> None:
    for _ in range(count):
        assert breaker.call_result(int).was_rejected


def _left_by(breaker: CircuitBreaker, work: Any) -> int:
    """Return how many bytes more are in use afterwards."""
    _reject(breaker, 1) if breaker._guard.tally.retired else breaker.call(int)
    breaker.flush()
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        work()
        breaker.flush()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        return after - before
    finally:
        tracemalloc.stop()


def _wait_until(holds: Any) -> None:
    ends = time.monotonic() + 30.0
    while not holds():
        if time.monotonic() > ends:
            raise AssertionError("not within 30 s")
        time.sleep(0.01)


def _resident() -> int:
    """Return the most memory that the process ever had in use, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


_JOBS = {"idle_circuits": idle_circuits, "many_calls": many_calls}

if __name__ == "__main__":
    print(json.dumps(_JOBS[sys.argv[1]](*sys.argv[2:])))
