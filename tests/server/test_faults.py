"""Faults around the scripts: flushed, frozen, wrong clocks, interrupts, lost connections."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bb5_breaker
from bb5_breaker import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpenError,
    StoreUnavailableError,
    configure,
)
from tests.server.circuits import eventually
from tests.server.interrupts import Interrupted, interrupt
from tests.support.servers import RunningServer, start
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import (
    Keys,
    ServiceFailed,
    fail,
    fail_once,
    make_breaker,
)

_PACKAGE = str(Path(bb5_breaker.__file__).parent)


def _again_and_again(work: Callable[[], Any]) -> Callable[[], None]:
    """Run something in a loop beside the test; return what ends the loop."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            work()

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()

    return end


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_a_host_that_can_be_no_name_fails_no_call(prefix: str, host: str) -> None:
    """Calls go on, orders say that there is no way to it."""
    breaker = make_breaker(f"redis://{host}:6379", prefix)
    assert breaker.call(lambda: 5) == 5
    with pytest.raises(StoreUnavailableError, match="can not be reached"):
        breaker.reset()


def test_flushing_the_scripts_goes_unnoticed(server: RunningServer, prefix: str) -> None:
    """SCRIPT FLUSH in a loop while four processes call: every call succeeds and counts once."""
    client = server.client()
    with Crew(4, Assignment(server.url, prefix)) as crew:
        end = _again_and_again(client.script_flush)
        try:
            seen = crew.ask_all("calls_until", seconds=1.0)
        finally:
            end()
        crew.ask_all("flush")
        figures = crew.workers[0].ask("stats")
    assert sum(bad for _, bad in seen) == 0
    good = sum(good for good, _ in seen)
    assert good > 20
    assert figures["total_calls"] == good


def test_connections_closed_by_the_server_are_opened_again(
    any_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An idle connection that the server dropped costs no call, no count and no log line."""
    breaker = make_breaker(any_server.url, prefix)
    client = any_server.client()
    with caplog.at_level(logging.WARNING, logger="bb5_breaker"):
        for _ in range(20):
            breaker.call(int)
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            breaker.call(int)
    assert breaker.stats.total_calls == 40
    assert caplog.messages == []


def test_a_frozen_server_costs_one_timeout_and_one_log_line(
    own_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first call waits for store_timeout, the others go on by the process's own rules."""
    settings = {
        "store_timeout": 0.3,
        "store_retry_interval": 60.0,
        "consistency": "strict",
    }
    breaker = make_breaker(own_server.url, prefix, settings=settings, failure_threshold=3)
    breaker.call(int)
    own_server.pause()
    try:
        with caplog.at_level(logging.INFO, logger="bb5_breaker"):
            begun = time.monotonic()
            assert breaker.call(lambda: "first") == "first"
            assert 0.3 <= time.monotonic() - begun < 2.0
            begun = time.monotonic()
            for _ in range(200):
                breaker.call(int)
            assert time.monotonic() - begun < 1.0
            for _ in range(3):
                fail_once(breaker)
            with pytest.raises(CircuitBreakerOpenError):
                breaker.call(int)
    finally:
        own_server.resume()
    assert len(caplog.messages) == 1
    assert "can not be reached" in caplog.messages[0]


def test_an_open_circuit_stays_open_while_the_store_is_away(
    own_server: RunningServer, prefix: str
) -> None:
    """The last that was heard holds until its deadline: no call slips through a dead store."""
    settings = {"store_timeout": 0.2, "store_retry_interval": 60.0}
    breaker = make_breaker(
        own_server.url, prefix, settings=settings, failure_threshold=1, timeout_seconds=1.5
    )
    fail_once(breaker)
    opened = time.monotonic()
    own_server.kill()
    ran = []
    while time.monotonic() - opened < 1.2:
        result = breaker.call_result(lambda: ran.append(time.monotonic()))
        assert result.was_rejected
        time.sleep(0.02)
    assert ran == []
    ends = opened + 10
    while not breaker.call_result(int).success:
        assert time.monotonic() < ends, "never tried again"
        time.sleep(0.02)


def test_a_store_that_is_back_is_used_again_and_told_once(
    own_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a restart calls count in the store again, whose memory was lost."""
    settings = {"store_timeout": 2.0, "store_retry_interval": 0.05}
    breaker = make_breaker(own_server.url, prefix, settings=settings)
    with caplog.at_level(logging.INFO, logger="bb5_breaker"):
        breaker.call(int)
        own_server.kill()
        breaker.call(int)
        own_server.restart()
        keys = Keys(own_server.client(), prefix)
        ends = time.monotonic() + 10
        while not keys.field("total_successes"):
            breaker.call(int)
            assert time.monotonic() < ends
            time.sleep(0.01)
        eventually(lambda: len(caplog.records) >= 2, "a line says that it is back")
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "answers again" in caplog.messages[1]


def test_the_users_result_and_error_pass_through_a_store_that_dies_meanwhile(
    own_server: RunningServer, prefix: str
) -> None:
    """A call that was admitted returns its own result or raises its own error all the same."""
    breaker = make_breaker(own_server.url, prefix, settings={"store_timeout": 0.2})
    error = ServiceFailed("mine")

    def die_and_return() -> object:
        own_server.kill()
        return error

    def die_and_raise() -> None:
        own_server.kill()
        raise error

    assert breaker.call(die_and_return) is error
    own_server.restart()
    with pytest.raises(ServiceFailed) as caught:
        breaker.call(die_and_raise)
    assert caught.value is error
    assert caught.value.__cause__ is None


def test_interrupts_at_any_line_do_not_use_the_store_up(
    any_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Twenty interrupts at each line of our code: connections are not lost, and none is wedged."""
    settings = {"store_timeout": 1.0, "consistency": "strict"}
    breaker = make_breaker(any_server.url, prefix, settings=settings)
    breaker.call(int)
    with caplog.at_level(logging.WARNING, logger="bb5_breaker"):
        line = 0
        struck = True
        while struck:
            line += 1
            for _ in range(20):
                struck = interrupt(lambda: breaker.call(int), line, _PACKAGE)
            assert breaker.call(lambda: 42) == 42
            assert caplog.messages == [], f"after twenty interrupts at line {line}"
    assert line > 30, "the interrupts never came"


@pytest.mark.timeout(30)
def test_interrupts_while_the_store_is_away_leave_no_lock_held(
    own_server: RunningServer, prefix: str
) -> None:
    """The way round a dead store is as safe from interrupts as the way to a living one."""
    settings = {
        "store_timeout": 1.0,
        "store_retry_interval": 0.01,
        "consistency": "strict",
    }
    breaker = make_breaker(own_server.url, prefix, settings=settings)
    breaker.call(int)
    own_server.kill()
    line = 0
    struck = True
    while struck:
        line += 1
        for pause in (0.0, 0.015, 0.0):
            time.sleep(pause)
            struck = interrupt(lambda: breaker.call(int), line, _PACKAGE)
            assert breaker.call(lambda: 42) == 42
    assert line > 30, "the interrupts never came"


# What redis-py was just opening is closed by the collector, which complains; and so it does of a
# handler that raises in a destructor.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.timeout(60, method="thread")  # the other method's alarm would be ours
@pytest.mark.parametrize("alive", [True, False], ids=["store-up", "store-away"])
@pytest.mark.usefixtures("both_modes")
def test_real_signals_at_random_moments_leave_no_lock_held(
    own_server: RunningServer, prefix: str, alive: bool
) -> None:
    """Handlers that raise, at 1,500 random moments of calls; the next call always comes through."""
    settings = {"store_timeout": 1.0, "store_retry_interval": 0.01}
    breaker = make_breaker(own_server.url, prefix, settings=settings, failure_threshold=1_000_000)
    breaker.call(int)
    if not alive:
        own_server.kill()
    moments, armed, struck = random.Random(7), [False], 0

    def strike(*_: object) -> None:
        if armed[0]:
            raise Interrupted

    before = signal.signal(signal.SIGALRM, strike)
    try:
        for _ in range(1500):
            try:
                armed[0] = True
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, 4e-4))
                for _ in range(1000):
                    breaker.call(int)
                    breaker.call_result(fail)
            except Interrupted:
                struck += 1
            armed[0] = False
            assert breaker.call(lambda: 42) == 42
    finally:
        armed[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert struck > 750
    if alive:
        # The threads of the background go on as well.
        known = Keys(own_server.client(), prefix)
        before_last = int(known.field("total_successes"))
        breaker.call(int)
        eventually(lambda: int(known.field("total_successes")) > before_last, "reported")


def test_a_request_interrupted_before_its_reply_leaves_no_reply_to_the_next(
    own_server: RunningServer, prefix: str
) -> None:
    """The late answer about an open circuit is never taken for the answer about a closed one."""
    # Strict, or the answer would be known here as soon as the background has heard it.
    configure(own_server.url, prefix=prefix, store_timeout=10.0, consistency="strict")
    rules = CircuitBreakerConfig(failure_threshold=1, call_timeout=None)
    opened, closed = CircuitBreaker("opened", rules), CircuitBreaker("closed", rules)
    fail_once(opened)
    closed.call(int)
    folder = f"{_PACKAGE}{os.sep}_store"
    line = 0
    struck = True
    while struck:
        line += 1
        own_server.pause()
        resume = threading.Timer(0.03, own_server.resume)
        resume.start()
        try:
            struck = interrupt(lambda: opened.call(int), line, folder)
        except CircuitBreakerOpenError:
            struck = False
        result = closed.call_result(int)
        resume.join()
        assert result.success, f"interrupted at line {line}: {result.exception}"
    assert line > 10, "the interrupts never came"


def test_an_interrupted_call_does_not_swallow_its_interrupt(
    any_server: RunningServer, prefix: str
) -> None:
    """KeyboardInterrupt in the call reaches the caller from a pool's thread as well."""
    breaker = make_breaker(any_server.url, prefix, call_timeout=30.0)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        breaker.call(interrupted)
    with pytest.raises(ServiceFailed):
        breaker.call(fail)
    assert breaker.stats.total_calls == 1


@pytest.mark.parametrize(
    "order",
    [("REPLICAOF", "127.0.0.1", "1"), ("CONFIG", "SET", "maxmemory", "1")],
    ids=["a replica", "out of memory"],
)
def test_a_server_that_takes_no_writes_is_unavailable(
    server: RunningServer, prefix: str, order: tuple[str, ...]
) -> None:
    """Orders say that it can not serve now, whatever form its refusal has in redis-py."""
    with start(server.kind) as own:
        breaker = make_breaker(own.url, prefix, failure_threshold=1)
        fail_once(breaker)
        own.client().execute_command(*order)
        with pytest.raises(StoreUnavailableError, match="can not serve now"):
            breaker.reset()
