"""Programs that fork: python -m tests.support.workers_forks <scenario> <url> <prefix>.

Each prints what it expects as JSON. A child's exit code is 0, or 14 when it hung.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bb5_breaker import CircuitBreaker, CircuitBreakerOpenError, CircuitState
from bb5_breaker._core.commands import Snapshot

from .workers_circuit import fail_once, make_breaker

_MANY = 1_000_000


def plain(url: str, prefix: str, call_timeout: float | None = None) -> dict[str, Any]:
    """Call, fork four children that call in threads, and call on at the same time."""
    breaker = make_breaker(url, prefix, failure_threshold=_MANY, call_timeout=call_timeout)
    _some_calls(breaker, 20)
    children = [_fork(lambda: _in_threads(4, lambda: _some_calls(breaker, 20))) for _ in range(4)]
    _some_calls(breaker, 20)
    codes = [_wait(child) for child in children]
    _some_calls(breaker, 20)
    rounds = 3 + 4 * 4
    return {"children": codes, "expected": [20 * rounds, 5 * rounds]}


def timeout(url: str, prefix: str) -> dict[str, Any]:
    """Do the same with calls that run on threads of the pool."""
    return plain(url, prefix, call_timeout=20.0)


def busy_parent(url: str, prefix: str) -> dict[str, Any]:
    """Fork sixty times while three threads of the parent call without a break."""
    breaker = make_breaker(url, prefix, failure_threshold=_MANY, call_timeout=20.0)
    over, counted = threading.Event(), []

    def call_on() -> None:
        while not over.is_set():
            _some_calls(breaker, 4)
            counted.append(1)

    threads = [threading.Thread(target=call_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = _fork_sixty(lambda: _some_calls(breaker, 4))
    over.set()
    for thread in threads:
        thread.join()
    rounds = 60 + len(counted)
    return {"children": codes, "expected": [4 * rounds, rounds]}


def opening_parent(url: str, prefix: str) -> dict[str, Any]:
    """Fork sixty times while three threads make breakers; each child makes one and calls."""
    _one_call(make_breaker(url, prefix))
    over = threading.Event()

    def open_on() -> None:
        while not over.is_set():
            CircuitBreaker("other", redis=url)

    threads = [threading.Thread(target=open_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = _fork_sixty(lambda: _one_call(CircuitBreaker("svc", redis=url)))
    over.set()
    for thread in threads:
        thread.join()
    return {"children": codes, "expected": [61, 0]}


def first_calls(url: str, prefix: str) -> dict[str, Any]:
    """Fork sixty times; in each child eight threads make their first calls together."""
    breaker = make_breaker(url, prefix, failure_threshold=_MANY, call_timeout=20.0)
    _some_calls(breaker, 4)

    def call_together() -> None:
        # Threads change as often as they can: a race that is there shows itself.
        sys.setswitchinterval(1e-6)
        _in_threads(8, lambda: breaker.call(int))

    return {"children": _fork_sixty(call_together)}


def inside_a_probe(url: str, prefix: str) -> dict[str, Any]:
    """Fork inside a probe that lasts several leases; both sides leave it with a success."""
    breaker = make_breaker(
        url,
        prefix,
        failure_threshold=1,
        timeout_seconds=0.01,
        success_threshold=5,
        probe_lease=0.2,
    )
    fail_once(breaker)
    time.sleep(0.02)
    block = breaker.protect()
    block.__enter__()
    child = _fork(lambda: block.__exit__(None, None, None), seconds=10)
    code = _wait(child)
    time.sleep(0.3)
    block.__exit__(None, None, None)
    return {"children": [code], "active_probes": breaker.stats.active_probes}


def with_pending(url: str, prefix: str) -> dict[str, Any]:
    """Fork while both threads run and ten successes wait; then both sides call and report."""
    breaker = make_breaker(url, prefix, settings={"flush_interval": 60.0})
    _gather(breaker, 10)
    told: list[int] = []

    def child() -> None:
        # Nothing is known here, and nothing is pending.
        breaker.flush()
        assert breaker.stats.successful_calls == 0
        _gather(breaker, 5)
        breaker.flush()
        assert breaker.stats.successful_calls >= 5

    told.append(_wait(_fork(child)))
    assert breaker._guard.decide() is not None, "the parent's view was lost"
    own = breaker.stats.successful_calls
    _gather(breaker, 10)
    return {"children": told, "expected": own + 10, "counted": breaker.stats.successful_calls}


def recovering(url: str, prefix: str) -> dict[str, Any]:
    """Fork while the parent waits for the end of an open period; only the child sees to it."""
    breaker = make_breaker(url, prefix, failure_threshold=1, timeout_seconds=0.3)
    fail_once(breaker)
    recovery = breaker._link().recovery
    assert recovery._thread.is_running

    def child() -> None:
        assert not recovery._thread.is_running
        # It learns of the circuit by a call, and makes none after that.
        assert breaker.call_result(int).was_rejected
        while breaker._link().read(Snapshot(breaker._circuit)).state is CircuitState.OPEN:
            time.sleep(0.01)

    forked = _fork(child)
    recovery.stop()
    return {"children": [_wait(forked)]}


def waiting(url: str, prefix: str) -> dict[str, Any]:
    """Fork while a thread waits for a circuit to close; then the child waits as well."""
    breaker = make_breaker(url, prefix, failure_threshold=1, timeout_seconds=60.0)
    fail_once(breaker)
    closed: list[bool] = []
    thread = threading.Thread(target=lambda: closed.append(breaker.wait_until_closed(20.0)))
    thread.start()
    news = breaker._link().board.news
    while not news._ears:
        time.sleep(0.001)

    def child() -> None:
        assert not news._ears
        assert breaker.wait_until_closed(4.0)

    forked = _fork(child, seconds=5)
    time.sleep(0.3)
    breaker.reset()
    thread.join()
    return {"children": [_wait(forked)], "closed": closed}


def inside_a_call(url: str, prefix: str) -> dict[str, Any]:
    """Fork inside calls that run by the view; both sides leave them, one with a failure."""
    breaker = make_breaker(url, prefix, settings={"flush_interval": 60.0}, failure_threshold=9)
    _gather(breaker, 0)
    codes = []
    for error in (None, ValueError()):
        block = breaker.protect()
        block.__enter__()

        def leave(block: Any = block, error: Exception | None = error) -> None:
            block.__exit__(type(error) if error else None, error, None)
            breaker.flush()

        codes.append(_wait(_fork(leave)))
        leave()
    return {"children": codes, "expected": [1, 1]}


def _gather(breaker: CircuitBreaker, count: int) -> None:
    """Make calls that wait to be reported, none of which is reported yet."""
    while breaker._guard.decide() is None:
        breaker._guard.ask()
    for _ in range(count):
        breaker.call(int)


def pool(url: str, prefix: str, method: str) -> dict[str, Any]:
    """Let a multiprocessing pool of four report to a circuit of this process, then open it."""
    breaker = make_breaker(url, prefix, failure_threshold=_MANY)
    breaker.call(int)
    context = multiprocessing.get_context(method)
    with context.Pool(4) as workers:
        workers.starmap(call_in_pool, [(url, prefix)] * 39, chunksize=1)
        counted = _await_calls(breaker, 40)
        fail_once(make_breaker(url, prefix, failure_threshold=1))
        rejected = workers.starmap(is_rejected_in_pool, [(url, prefix)] * 4)
        workers.close()
        workers.join()
    return {"counted": counted, "rejected": rejected}


def _await_calls(breaker: CircuitBreaker, count: int) -> int:
    """Return the number of calls as soon as the workers have reported as many."""
    ends = time.monotonic() + 10.0
    while (counted := breaker.stats.total_calls) < count and time.monotonic() < ends:
        time.sleep(0.01)
    return counted


def call_in_pool(url: str, prefix: str) -> None:
    """Make one call in a worker of a pool."""
    breaker = CircuitBreaker.get("svc") or make_breaker(url, prefix)
    breaker.call(int)


def is_rejected_in_pool(url: str, prefix: str) -> bool:
    """Return whether calls in a worker of a pool are rejected, once the news has arrived."""
    breaker = CircuitBreaker.get("svc") or make_breaker(url, prefix)
    ends = time.monotonic() + 5.0
    while time.monotonic() < ends:
        try:
            breaker.call(int)
        except CircuitBreakerOpenError:
            return True
        time.sleep(0.001)
    return False


def _some_calls(breaker: CircuitBreaker, count: int) -> None:
    for number in range(count):
        breaker.call(int)
        if number % 4 == 0:
            fail_once(breaker)
    # A child that ends by os._exit() runs no exit function.
    breaker.flush()


def _one_call(breaker: CircuitBreaker) -> None:
    breaker.call(int)
    breaker.flush()


def _in_threads(count: int, work: Callable[[], Any]) -> None:
    together, errors = threading.Barrier(count), []

    def run() -> None:
        together.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _fork(work: Callable[[], Any], seconds: int = 4) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # Ends the child when it hangs, with the signal's number as its code.
        signal.alarm(seconds)
        work()
        code = 0
    finally:
        os._exit(code)


def _fork_sixty(work: Callable[[], Any]) -> list[int]:
    """Fork children one after the other; return their codes, up to the first that is not 0."""
    codes: list[int] = []
    while len(codes) < 60 and not any(codes):
        codes.append(_wait(_fork(work)))
    return codes


def _wait(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return abs(os.waitstatus_to_exitcode(status))


_SCENARIOS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "plain": plain,
    "timeout": timeout,
    "busy_parent": busy_parent,
    "first_calls": first_calls,
    "opening_parent": opening_parent,
    "inside_a_probe": inside_a_probe,
    "recovering": recovering,
    "waiting": waiting,
    "with_pending": with_pending,
    "inside_a_call": inside_a_call,
    "pool_fork": lambda url, prefix: pool(url, prefix, "fork"),
    "pool_spawn": lambda url, prefix: pool(url, prefix, "spawn"),
    "pool_forkserver": lambda url, prefix: pool(url, prefix, "forkserver"),
}

if __name__ == "__main__":
    print(json.dumps(_SCENARIOS[sys.argv[1]](*sys.argv[2:])))
