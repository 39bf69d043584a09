"""One breaker, many threads; and calls that may take only so long."""

from __future__ import annotations

import contextvars
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bb5_breaker import CircuitBreakerOpenError
from bb5_breaker._shell.deadlines import MAX_THREADS, CallPool
from tests.support.servers import RunningServer
from tests.support.workers_circuit import (
    ServiceFailed,
    fail,
    fail_once,
    make_breaker,
)

_ROOT = Path(__file__).parents[2]


def _in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run a function in threads that begin together; return results, or errors, in order."""
    together = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        together.wait()
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    return results


@pytest.mark.parametrize("call_timeout", [None, 30.0], ids=["no-timeout", "timeout"])
@pytest.mark.usefixtures("both_modes")
def test_32_threads_count_exactly_on_one_breaker(
    any_server: RunningServer, prefix: str, call_timeout: float | None
) -> None:
    """All their calls are counted, and each gets its own result."""
    breaker = make_breaker(
        any_server.url, prefix, failure_threshold=1_000_000, call_timeout=call_timeout
    )

    def work(number: int) -> int:
        for turn in range(50):
            assert breaker.call(lambda mark=(number, turn): mark) == (number, turn)
            if turn % 5 == 0:
                fail_once(breaker)
        return number

    assert _in_threads(32, work) == list(range(32))
    figures = breaker.stats
    assert (figures.successful_calls, figures.failed_calls) == (32 * 50, 32 * 10)


@pytest.mark.usefixtures("both_modes")
def test_many_threads_do_not_pass_for_a_dead_store(
    any_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """64 threads on a healthy server with default time-outs: all is counted, nothing logged."""
    breaker = make_breaker(
        any_server.url, prefix, settings={"store_timeout": 0.5}, failure_threshold=1_000_000
    )
    with caplog.at_level(logging.WARNING, logger="bb5_breaker"):
        _in_threads(64, lambda _: [breaker.call(int) for _ in range(50)])
    assert breaker.stats.total_calls == 64 * 50
    assert caplog.messages == []


@pytest.mark.usefixtures("both_modes")
def test_threads_at_the_threshold_trip_once(any_server: RunningServer, prefix: str) -> None:
    """32 threads fail at once with a threshold of 10: one transition, the rest is late."""
    breaker = make_breaker(any_server.url, prefix, failure_threshold=10)
    inside = threading.Barrier(32)

    def work(_: int) -> None:
        def fail_together() -> None:
            inside.wait(30)
            fail()

        breaker.call(fail_together)

    results = _in_threads(32, work)
    assert all(isinstance(result, ServiceFailed) for result in results)
    figures = breaker.stats
    assert (figures.state_transitions, figures.current_failures) == (1, 10)
    assert figures.failed_calls == 10


@pytest.mark.parametrize("call_timeout", [None, 30.0], ids=["no-timeout", "timeout"])
@pytest.mark.usefixtures("both_modes")
def test_no_lock_is_held_while_calls_run(
    any_server: RunningServer, prefix: str, call_timeout: float | None
) -> None:
    """Four calls that wait for each other all run at once on one breaker."""
    breaker = make_breaker(any_server.url, prefix, call_timeout=call_timeout)
    inside = threading.Barrier(4)
    begun = time.monotonic()

    def meet_and_wait() -> str:
        inside.wait(30)
        time.sleep(0.2)
        return "met"

    assert _in_threads(4, lambda _: breaker.call(meet_and_wait)) == ["met"] * 4
    assert 0.2 <= time.monotonic() - begun < 0.75


@pytest.mark.usefixtures("both_modes")
def test_a_breaker_answers_while_one_of_its_calls_runs(
    any_server: RunningServer, prefix: str
) -> None:
    """State, figures, resets and other calls work from inside a call and beside it."""
    breaker = make_breaker(any_server.url, prefix, call_timeout=30.0)

    def ask() -> tuple[Any, ...]:
        breaker.reset()
        inner = breaker.call(lambda: breaker.call(lambda: "inner"))
        return breaker.is_closed, breaker.get_stats()["service_id"], inner

    assert breaker.call(ask) == (True, "svc", "inner")


@pytest.mark.parametrize("seconds", [0.02, 0.15, 1.1])
@pytest.mark.usefixtures("both_modes")
def test_a_call_timeout_holds_on_any_thread_and_below_a_second(
    any_server: RunningServer, prefix: str, seconds: float
) -> None:
    """The error is the builtin TimeoutError, after the time and not much later, and it counts."""
    breaker = make_breaker(any_server.url, prefix, failure_threshold=9, call_timeout=seconds)
    over = threading.Event()
    took: list[float] = []

    def hang(_: int) -> None:
        begun = time.monotonic()
        try:
            breaker.call(over.wait, 30)
        finally:
            took.append(time.monotonic() - begun)

    errors = _in_threads(3, hang)
    over.set()
    assert [type(error) for error in errors] == [TimeoutError] * 3
    assert all(seconds <= one < seconds + 1.0 for one in took), took
    assert breaker.stats.current_failures == 3
    assert f"{seconds:g} s" in str(errors[0])


@pytest.mark.usefixtures("both_modes")
def test_a_timed_out_probe_opens_the_circuit_again(any_server: RunningServer, prefix: str) -> None:
    """A probe that hangs is a failure; its place is free for the next half-open."""
    breaker = make_breaker(
        any_server.url,
        prefix,
        failure_threshold=1,
        timeout_seconds=0.3,
        reset_timeout=0.0,
        success_threshold=1,
        call_timeout=0.05,
    )
    fail_once(breaker)
    time.sleep(0.31)
    over = threading.Event()
    with pytest.raises(TimeoutError):
        breaker.call(over.wait, 30)
    assert breaker.is_open
    with pytest.raises(CircuitBreakerOpenError):
        breaker.call(int)
    time.sleep(0.31)
    assert breaker.call(lambda: "back") == "back"
    assert breaker.is_closed
    over.set()


@pytest.mark.parametrize("off", [0, 0.0, None])
def test_without_a_call_timeout_the_call_runs_on_the_callers_thread(
    any_server: RunningServer, prefix: str, off: float | None
) -> None:
    """0 and None turn the time-out off, and with it the change of thread."""
    breaker = make_breaker(any_server.url, prefix, call_timeout=off)
    assert breaker.call(threading.get_ident) == threading.get_ident()


def test_context_variables_reach_the_call(any_server: RunningServer, prefix: str) -> None:
    """A call with a time-out sees its own caller's context, whatever thread serves it."""
    breaker = make_breaker(any_server.url, prefix, call_timeout=30.0)
    request: contextvars.ContextVar[int] = contextvars.ContextVar("request")

    def work(number: int) -> list[int]:
        request.set(number)
        return [breaker.call(request.get) for _ in range(20)]

    assert _in_threads(8, work) == [[number] * 20 for number in range(8)]
    assert request.get(None) is None


def test_threads_of_calls_are_used_again(any_server: RunningServer, prefix: str) -> None:
    """A hundred calls one after the other need one thread, not a hundred."""
    breaker = make_breaker(any_server.url, prefix, call_timeout=30.0)
    assert len({breaker.call(threading.get_ident) for _ in range(100)}) == 1


def test_abandoned_calls_are_visible_until_they_end(any_server: RunningServer, prefix: str) -> None:
    """get_stats tells how many calls of this process run on after their time-out."""
    breaker = make_breaker(any_server.url, prefix, failure_threshold=9, call_timeout=0.05)
    before = breaker.get_stats()["abandoned_calls"]
    over = threading.Event()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            breaker.call(over.wait, 30)
    assert breaker.get_stats()["abandoned_calls"] == before + 3
    over.set()
    ends = time.monotonic() + 10
    while breaker.get_stats()["abandoned_calls"] > before:
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_the_pool_is_bounded_and_says_so() -> None:
    """With every thread abandoned a call fails in its own time, with an error that tells why."""
    pool, over = CallPool(most=2), threading.Event()
    for _ in range(2):
        with pytest.raises(TimeoutError, match="took longer"):
            pool.run(over.wait, 0.02, 30)
    with pytest.raises(TimeoutError, match=r"no thread came free .* 2 of them abandoned"):
        pool.run(int, 0.02)
    over.set()
    assert pool.run(lambda: "free", 30.0) == "free"
    assert MAX_THREADS == 1024


_EXITING = """
import sys, threading
from tests.support.workers_circuit import make_breaker
breaker = make_breaker(sys.argv[1], sys.argv[2], call_timeout=0.05)
try:
    breaker.call(threading.Event().wait)
except TimeoutError:
    print("timed out", breaker.get_stats()["abandoned_calls"], flush=True)
block = breaker.protect()
block.__enter__()
"""


def test_a_hung_call_does_not_hold_up_the_exit(any_server: RunningServer, prefix: str) -> None:
    """A process whose guarded call hangs for ever ends at once when its program is over."""
    done = subprocess.run(
        [sys.executable, "-c", _EXITING, any_server.url, prefix],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "timed out 1\n"
    assert done.stderr == ""
