"""Interrupts in cached mode: no lock stays held, no view is believed that is over."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import bb5_breaker
from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpenError
from bb5_breaker._core.commands import Admit, Look, Outcome, Record, Run
from bb5_breaker._core.flows import Permit
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import Verdict
from bb5_breaker._shell.leases import LeaseKeeper
from bb5_breaker._shell.link import Link
from bb5_breaker._store.private_store import PrivateStore
from tests.server.cached import NEVER, QUIET, asked, await_trust
from tests.server.circuits import eventually
from tests.server.interrupts import interrupt
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer
from tests.support.workers_circuit import Keys, fail, make_breaker

# The collector closes what was just being made, and complains; and so it does of an interrupt that
# comes while it cleans up.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

_PACKAGE = str(Path(bb5_breaker.__file__).parent)
# Of the shell only what starts the threads: feed.py, flusher.py, and what they share.
_BACKGROUND = os.path.join(_PACKAGE, "_store", "background")
_THREADS = (os.path.join(_PACKAGE, "_shell", "f"), _BACKGROUND)
_RECOVERY = (os.path.join(_PACKAGE, "_shell", "recovery"), _BACKGROUND)
_LEASES = (os.path.join(_PACKAGE, "_shell", "leases"), _BACKGROUND)


def _lines(work: Callable[[], Any], folder: str | tuple[str, ...] = _PACKAGE) -> Iterator[int]:
    """Interrupt something at its first line, its second, and so on to the last."""
    line = 1
    while interrupt(work, line, folder):
        yield line
        line += 1


def _succeed(breaker: CircuitBreaker) -> None:
    breaker.call(int)


def _fail(breaker: CircuitBreaker) -> None:
    breaker.call_result(fail)


def _is_rejected(breaker: CircuitBreaker) -> bool:
    # The shortest way in: it does not even look at the view while its tally may be used.
    try:
        breaker.call(int)
    except CircuitBreakerOpenError:
        return True
    return False


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("work", "least"), [(_succeed, 8), (_fail, 60)])
def test_calls_that_are_interrupted_leave_a_breaker_that_works(
    own_server: RunningServer, client: redis.Redis, prefix: str, work: Any, least: int
) -> None:
    """At each line of a call: the next ones are local, all of them are reported, and counted."""
    breaker = make_breaker(own_server.url, prefix, settings=QUIET, failure_threshold=NEVER)
    await_trust(breaker, client)
    breaker.flush()
    line = 0
    for line in _lines(lambda: work(breaker)):
        # What was taken along by the interrupted report may be lost with it.
        breaker.flush()
        before = int(Keys(client, prefix).field("total_successes"))
        assert asked(client, lambda: [breaker.call(int) for _ in range(3)]) == 0, line
        breaker.flush()
        assert int(Keys(client, prefix).field("total_successes")) == before + 3, line
    assert line >= least, "the interrupts never came"


@pytest.mark.timeout(60)
def test_rejections_that_are_interrupted_leave_a_breaker_that_rejects(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """At each line of a rejected call: the circuit stays open without a question."""
    breaker = make_breaker(own_server.url, prefix, settings=QUIET, failure_threshold=1)
    await_trust(breaker, client)
    _fail(breaker)
    line = 0
    for line in _lines(lambda: breaker.call_result(int)):
        rejections = [breaker.call_result(int).was_rejected for _ in range(3)]
        assert rejections == [True] * 3, line
    assert line >= 8, "the interrupts never came"
    assert asked(client, lambda: breaker.call_result(int)) == 0
    breaker.flush()
    assert int(Keys(client, prefix).field("rejections")) >= 3 * line


@pytest.mark.timeout(60)
def test_a_view_that_changes_while_interrupted_lets_no_call_through_that_is_over(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """At each line of the call that trips: soon the process goes by the state that there is."""
    with Proxy(own_server.url) as proxy:
        breaker = make_breaker(proxy.url, prefix, settings=QUIET, failure_threshold=1)
        keys, line, tripped, struck = Keys(client, prefix), 0, 0, True
        while struck:
            line += 1
            await_trust(breaker, client)
            # The answer to the call comes first: its thread changes the view, not the feed's.
            proxy.feeds.hold()
            struck = interrupt(lambda: breaker.call_result(fail), line, _PACKAGE)
            proxy.feeds.release()
            # The report of the interrupted call may get there after this looks.
            eventually(
                lambda: _is_rejected(breaker) is (keys.field("state") == "open"),
                f"the process goes by the store, interrupted at line {line}",
                seconds=2.0,
            )
            tripped += keys.field("state") == "open"
            breaker.reset()
    assert tripped >= 30, f"the interrupts never came after the trip, of {line}"


@pytest.mark.timeout(60)
def test_an_interrupted_reset_is_not_forgotten_by_the_process_that_made_it(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """At each line of a reset by hand of a closed circuit: failures after it count."""
    breaker = make_breaker(own_server.url, prefix, settings=QUIET, failure_threshold=NEVER)
    await_trust(breaker, client)
    keys, line = Keys(client, prefix), 0
    for line in _lines(breaker.reset):
        # The notice tells this process, too, whatever its own order came to.
        eventually(
            lambda: (
                breaker.call(int) or breaker._guard._view.seen.told.epoch == keys.field("epoch")
            ),
            "heard",
        )
        epoch, before = keys.field("epoch"), int(keys.field("total_failures") or 0)
        _fail(breaker)
        # A reset that was interrupted may arrive when nobody waits for it any more.
        if keys.field("epoch") == epoch:
            assert int(keys.field("total_failures")) == before + 1, line
        await_trust(breaker, client)
    assert line >= 40, "the interrupts never came"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("starts", ["feed", "flusher"])
def test_interrupts_in_the_first_calls_do_not_keep_the_threads_from_running(
    own_server: RunningServer, client: redis.Redis, prefix: str, starts: str
) -> None:
    """At each line that starts one: soon the circuit is listened to, and reported."""
    settings = {"flush_interval": 0.02, "heartbeat_interval": 5.0}
    line, struck = 0, True
    while struck:
        gc.collect()
        line += 1
        own = f"{prefix}-{line}"
        breaker = make_breaker(own_server.url, own, settings=settings)
        # The first question starts the feed, the first success that is not reported the other.
        while starts == "flusher" and breaker._guard.decide() is None:
            breaker._guard.ask()
        struck = interrupt(lambda: breaker.call(int), line, _THREADS)  # noqa: B023
        await_trust(breaker, client)
        keys = Keys(client, own)
        before = int(keys.field("total_successes") or 0)
        breaker.call(int)
        eventually(
            lambda: int(keys.field("total_successes") or 0) > before,  # noqa: B023
            f"reported after an interrupt at line {line}",
            seconds=2.0,
        )
    gc.collect()
    assert line >= 10, "the interrupts never came"


@pytest.mark.timeout(60)
def test_interrupts_in_a_call_that_trips_do_not_keep_the_open_period_from_ending(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """At each line that plans its end: without another call the circuit is half-open soon."""
    rules = {"failure_threshold": 1, "timeout_seconds": 0.02}
    line, struck = 0, True
    with Proxy(own_server.url) as proxy:
        while struck:
            gc.collect()
            line += 1
            own = f"{prefix}-{line}"
            breaker = make_breaker(proxy.url, own, settings=QUIET, **rules)
            await_trust(breaker, client)
            # The answer comes first; the push tells it where the answer could not.
            proxy.feeds.hold()
            struck = interrupt(lambda: breaker.call_result(fail), line, _RECOVERY)  # noqa: B023
            proxy.feeds.release()
            keys = Keys(client, own)
            eventually(
                lambda: keys.field("state") == "half_open",  # noqa: B023
                f"half-open after an interrupt at line {line}",
                seconds=2.0,
            )
    gc.collect()
    assert line >= 15, "the interrupts never came"


def test_interrupts_where_a_probe_begins_do_not_keep_the_next_from_its_place() -> None:
    """At each line that begins the renewal of leases: that of the next probe is renewed."""
    link = Link(PrivateStore())
    rules = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=0.0, probe_lease=0.1)
    line, struck = 0, True
    while struck:
        line += 1
        keeper, circuit = LeaseKeeper(), Circuit.of(f"svc-{line}", rules)
        link.run(Record(circuit, 0, "", (Run(Outcome.FAILURE, 1),), "E"))
        told = link.view(Admit(circuit, "t"))
        permit = Permit(told.state, told.generation, told.epoch, "t")
        struck = interrupt(lambda: keeper.hold(link, circuit, permit, 10.0), line, _LEASES)  # noqa: B023
        keeper.hold(link, circuit, permit, 10.0)
        eventually(
            lambda: link.view(Look(circuit)).now_ms > told.until_ms,  # noqa: B023
            "its lease would have ended",
        )
        assert link.view(Admit(circuit, "other")).verdict is Verdict.REJECT, line
        keeper.drop(permit)
    assert line >= 15, "the interrupts never came"
