"""One circuit, many processes: how it opens, recovers and closes for all of them."""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitState, configure
from bb5_breaker._core.commands import Outcome
from bb5_breaker._core.replies import Verdict
from bb5_breaker.events import CircuitEvent, decode_event
from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import (
    PATIENT,
    Bench,
    Clock,
    Keys,
    ServiceFailed,
    fail,
    fail_once,
    make_breaker,
)

_STATES = {"closed": "open", "open": "half_open"}


def _wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"not within {seconds} s"
        time.sleep(0.005)


@pytest.mark.usefixtures("both_modes")
def test_failures_of_all_processes_together_open_the_circuit_for_all(
    server: RunningServer, prefix: str
) -> None:
    """Six failures of three processes trip a threshold of six, and not one failure earlier."""
    rules = {"failure_threshold": 6, "timeout_seconds": 60.0}
    with Crew(4, Assignment(server.url, prefix, config=rules)) as crew:
        assert crew.ask_all("calls", outcomes="f")[:3] == ["f", "f", "f"]
        assert crew.workers[0].ask("calls", outcomes="f") == "f"
        assert crew.ask_all("state") == ["closed"] * 4
        assert crew.workers[1].ask("calls", outcomes="f") == "f"
        assert crew.ask_all("state") == ["open"] * 4
        assert crew.ask_all("calls", outcomes="s") == ["r"] * 4
    assert Keys(server.client(), prefix).transitions() == [("open", 1)]


@pytest.mark.usefixtures("both_modes")
def test_a_success_of_one_process_forgives_the_failures_of_others(
    server: RunningServer, prefix: str
) -> None:
    """Failures count in a row over the fleet: a success anywhere between starts the row anew."""
    with Crew(2, Assignment(server.url, prefix, config={"failure_threshold": 3})) as crew:
        first, second = crew.workers
        assert first.ask("calls", outcomes="ff") == "ff"
        assert second.ask("calls", outcomes="s") == "s"
        assert first.ask("calls", outcomes="ff") == "ff"
        assert second.ask("state") == "closed"
        assert second.ask("calls", outcomes="fs") == "fr"


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.usefixtures("both_modes")
def test_sixteen_processes_asking_together_get_just_the_places_there_are(
    server: RunningServer, prefix: str, places: int
) -> None:
    """At the end of the open period exactly half_open_max_calls of 16 run, whoever asks."""
    rules = {
        "failure_threshold": 1,
        "timeout_seconds": 0.05,
        "half_open_max_calls": places,
        "success_threshold": places,
    }
    with Crew(16, Assignment(server.url, prefix, config=rules)) as crew:
        crew.workers[0].ask("calls", outcomes="f")
        time.sleep(0.06)
        answers = crew.ask_together("begin")
        assert sum(answer["admitted"] for answer in answers) == places
        assert {a["state"] for a in answers if not a["admitted"]} == {"half_open"}
        crew.ask_all("end", outcome="s")
        assert crew.ask_all("state") == ["closed"] * 16
    assert Keys(server.client(), prefix).transitions() == [
        ("open", 1),
        ("half_open", 2),
        ("closed", 3),
    ]


@pytest.mark.usefixtures("both_modes")
def test_a_finished_probe_frees_its_place_and_enough_of_them_close(
    server: RunningServer, prefix: str
) -> None:
    """With one place, successes of different processes add up to success_threshold."""
    rules = {"failure_threshold": 1, "timeout_seconds": 0.01, "success_threshold": 3}
    with Crew(3, Assignment(server.url, prefix, config=rules)) as crew:
        crew.workers[0].ask("calls", outcomes="f")
        time.sleep(0.02)
        seen = []
        for worker in crew.workers:
            assert worker.ask("calls", outcomes="s") == "s"
            seen.append(worker.ask("state"))
    assert seen == ["half_open", "half_open", "closed"]


@pytest.mark.usefixtures("both_modes")
def test_one_failed_probe_opens_the_circuit_again(server: RunningServer, prefix: str) -> None:
    """Whatever succeeded before in half-open, one failure opens, for all, and starts it anew."""
    rules = {
        "failure_threshold": 2,
        "timeout_seconds": 0.05,
        "success_threshold": 2,
        "reset_timeout": 0.0,
    }
    with Crew(2, Assignment(server.url, prefix, config=rules)) as crew:
        first, second = crew.workers
        first.ask("calls", outcomes="ff")
        time.sleep(0.06)
        assert first.ask("calls", outcomes="s") == "s"
        assert second.ask("calls", outcomes="fs") == "fr"
        time.sleep(0.06)
        assert first.ask("calls", outcomes="s") == "s"
        assert first.ask("state") == "half_open"
        assert second.ask("calls", outcomes="s") == "s"
        assert first.ask("state") == "closed"


def _to_half_open(bench: Bench, clock: Clock) -> Any:
    bench.record("f")
    clock.advance(1_000)
    return bench.admit()


def test_reset_timeout_parts_two_entries_into_half_open(server: RunningServer, prefix: str) -> None:
    """After a failed probe the next one waits until reset_timeout after the entry before."""
    clock = Clock()
    rules: dict[str, Any] = {"timeout_seconds": 1.0, "reset_timeout": 10.0}
    bench = Bench(server.client(), server.url, prefix, clock, failure_threshold=1, **rules)
    leave = _to_half_open(bench, clock)
    assert leave.verdict is Verdict.PROBE
    entered = clock.now_ms
    clock.advance(200)
    reopened = bench.settle(Outcome.FAILURE, leave)
    assert reopened.until_ms == entered + 10_000
    clock.now_ms = entered + 9_999
    assert bench.admit("t2").verdict is Verdict.REJECT
    clock.now_ms = entered + 10_000
    assert bench.admit("t3").verdict is Verdict.PROBE


def test_reset_timeout_never_delays_the_first_entry_after_a_trip(
    server: RunningServer, prefix: str
) -> None:
    """Closed and tripped again at once: the open period lasts timeout_seconds and no longer."""
    clock = Clock()
    rules: dict[str, Any] = {"timeout_seconds": 1.0, "reset_timeout": 100.0}
    bench = Bench(
        server.client(),
        server.url,
        prefix,
        clock,
        failure_threshold=1,
        success_threshold=1,
        **rules,
    )
    closed = bench.settle(Outcome.SUCCESS, _to_half_open(bench, clock))
    assert closed.state is CircuitState.CLOSED
    tripped = bench.record("f", closed)
    assert tripped.until_ms == clock.now_ms + 1_000
    clock.advance(999)
    assert bench.admit("t2").verdict is Verdict.REJECT
    clock.advance(1)
    assert bench.admit("t3").verdict is Verdict.PROBE


def test_a_long_open_period_is_not_cut_short_by_reset_timeout(
    server: RunningServer, prefix: str
) -> None:
    """A reopened circuit stays open for timeout_seconds when reset_timeout is shorter."""
    clock = Clock()
    bench = Bench(
        server.client(),
        server.url,
        prefix,
        clock,
        failure_threshold=1,
        timeout_seconds=1.0,
        reset_timeout=0.5,
    )
    leave = _to_half_open(bench, clock)
    clock.advance(2_000)
    assert bench.settle(Outcome.FAILURE, leave).until_ms == clock.now_ms + 1_000


def test_the_acceptance_example_holds(server: RunningServer, prefix: str) -> None:
    """Threshold 2, timeout 1.0: two failures open, a third call is rejected; later two close."""
    configure(server.url, prefix=prefix, **PATIENT)
    breaker = CircuitBreaker("svc", CircuitBreakerConfig(failure_threshold=2, timeout_seconds=1.0))
    for _ in range(3):
        breaker.call_result(fail)
    assert breaker.is_open
    assert breaker.get_stats()["current_failures"] == 2
    _wait_for(lambda: breaker.call_result(int).success)
    assert breaker.call(int) == 0
    assert breaker.is_closed


def _by_block(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    with breaker.protect():
        return work()


def _by_decorator(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    return breaker.decorate(work)()


def _by_result(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    result = breaker.call_result(work)
    if result.exception is not None:
        raise result.exception
    return result.value


@pytest.mark.parametrize(
    "way", [CircuitBreaker.call, _by_block, _by_decorator, _by_result], ids=lambda way: way.__name__
)
def test_every_way_of_calling_opens_and_recovers_a_circuit(
    server: RunningServer, prefix: str, way: Callable[[CircuitBreaker, Callable[[], Any]], Any]
) -> None:
    """Blocks and decorators take a circuit through all its states as calls do."""
    breaker = make_breaker(
        server.url, prefix, failure_threshold=2, timeout_seconds=0.05, success_threshold=2
    )
    for _ in range(2):
        with pytest.raises(Exception, match="the service failed"):
            way(breaker, fail)
    assert breaker.is_open
    time.sleep(0.06)
    assert way(breaker, lambda: 42) == 42
    assert breaker.is_half_open
    assert way(breaker, lambda: 43) == 43
    assert breaker.is_closed
    assert Keys(server.client(), prefix).transitions() == [
        ("open", 1),
        ("half_open", 2),
        ("closed", 3),
    ]


async def _coroutine() -> None:
    raise ServiceFailed("in a coroutine")


async def _async_generator() -> AsyncIterator[int]:
    yield 1
    raise ServiceFailed("between items")


def _generator() -> Iterator[int]:
    yield 1
    raise ServiceFailed("between items")


async def _collect(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]


class _Holder:
    async def method(self) -> None:
        await _coroutine()


@pytest.mark.parametrize(
    ("func", "finish"),
    [
        (_coroutine, asyncio.run),
        (_async_generator, lambda items: asyncio.run(_collect(items))),
        (_generator, list),
        (functools.partial(_coroutine), asyncio.run),
        (functools.partial(_generator), list),
        (_Holder().method, asyncio.run),
        (functools.partial(_Holder().method), asyncio.run),
    ],
)
def test_functions_that_only_promise_work_are_guarded_until_it_is_done(
    any_server: RunningServer, prefix: str, func: Any, finish: Callable[[Any], Any]
) -> None:
    """A coroutine or generator function does nothing when called; the circuit sees its end."""
    breaker = make_breaker(any_server.url, prefix, failure_threshold=2)
    ways: list[Any] = [breaker.decorate(func), functools.partial(breaker.call, func)]
    for number, way in enumerate(ways):
        promise = way()
        assert breaker.stats.total_calls == number
        with pytest.raises(ServiceFailed):
            finish(promise)
        assert breaker.stats.failed_calls == number + 1
    assert breaker.is_open


def test_a_plain_wrapper_of_a_coroutine_function_is_not_refused(
    any_server: RunningServer, prefix: str
) -> None:
    """A function that runs a coroutine to its end is plain, whatever functools.wraps noted."""

    @functools.wraps(_coroutine)
    def plain() -> int:
        return 7

    assert make_breaker(any_server.url, prefix).decorate(plain)() == 7


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decode_responses": True},
        {"protocol": 3},
        {"protocol": 3, "decode_responses": True},
        {"retry": Retry(NoBackoff(), 5), "retry_on_timeout": True},
        {"encoding": "latin-1", "decode_responses": True},
        {"single_connection_client": True},
        {"socket_timeout": 0.001},
    ],
)
def test_any_client_of_the_user_gives_a_breaker_that_works(
    server: RunningServer, prefix: str, options: dict[str, Any]
) -> None:
    """Decoding, RESP3, retries and time-outs of a given client change nothing for us."""
    client = redis.Redis.from_url(server.url, **options)
    configure(redis=client, prefix=prefix, **PATIENT)
    breaker = CircuitBreaker(
        "svc", CircuitBreakerConfig(failure_threshold=1, timeout_seconds=0.02, success_threshold=1)
    )
    error = type("Überlast", (Exception,), {})

    def overload() -> None:
        raise error("failed")

    with pytest.raises(error):
        breaker.call(overload)
    assert breaker.is_open
    assert Keys(server.client(), prefix).field("last_error") == "Überlast"
    time.sleep(0.03)
    assert breaker.call(lambda: "back") == "back"
    assert breaker.stats.current_state is CircuitState.CLOSED
    assert breaker.stats.generation == 3
    client.close()


@pytest.mark.parametrize("event_format", ["msgpack", "json"])
@pytest.mark.usefixtures("both_modes")
def test_each_transition_is_told_once_on_the_channel_and_in_the_stream(
    server: RunningServer, prefix: str, event_format: str
) -> None:
    """Fifty lifecycles by four processes: every generation once, in order, on both."""
    cycles = 50
    rules = {
        "failure_threshold": 2,
        "timeout_seconds": 0.001,
        "success_threshold": 2,
        "reset_timeout": 0.0,
        "half_open_max_calls": 2,
    }
    settings = {"event_format": event_format, "history_limit": 100_000}
    client = server.client()
    feed = client.pubsub(ignore_subscribe_messages=False)
    feed.subscribe(f"{prefix}.svc")
    assert feed.get_message(timeout=5)
    assignment = Assignment(server.url, prefix, config=rules, settings=settings)
    with Crew(4, assignment) as crew:
        crew.ask_all("lifecycles", count=3 * cycles)
    keys = Keys(client, prefix)
    events = []
    while message := feed.get_message(timeout=0.2):
        event = decode_event(message["data"])
        assert isinstance(event, CircuitEvent)
        events.append(event)
    feed.close()
    told = [(event.state.value, event.generation) for event in events]
    assert told == keys.transitions()
    generations = [generation for _, generation in told]
    assert generations == list(range(1, int(keys.field("generation")) + 1))
    assert len(generations) == int(keys.field("transitions")) >= 3 * cycles
    assert Counter(event.metadata.event_id for event in events).most_common(1)[0][1] == 1
    assert all(event.data["service"] == "svc" for event in events)
    previous = ["closed", *(state for state, _ in told)]
    assert [event.data["previous_state"] for event in events] == previous[:-1]
    for before, after in itertools.pairwise(previous):
        assert _STATES.get(before, after) == after


@pytest.mark.usefixtures("both_modes")
def test_reset_closes_for_all_and_what_ran_before_does_not_count(
    server: RunningServer, prefix: str
) -> None:
    """After a reset by one process the others call at once; totals stay, failures do not."""
    with Crew(2, Assignment(server.url, prefix, config={"failure_threshold": 2})) as crew:
        first, second = crew.workers
        assert first.ask("calls", outcomes="ffs") == "ffr"
        make_breaker(server.url, prefix).reset()
        assert second.ask("state") == "closed"
        assert second.ask("calls", outcomes="fs") == "fs"
        crew.ask_all("flush")
        figures = first.ask("stats")
    assert (figures["total_calls"], figures["failed_calls"]) == (4, 3)
    assert figures["window_calls"] == 2


def test_a_reset_of_a_closed_circuit_forgets_the_calls_that_still_run(
    server: RunningServer, prefix: str
) -> None:
    """Calls that were admitted before a reset do not count afterwards, closed or not."""
    breaker = make_breaker(server.url, prefix, failure_threshold=2)
    fail_once(breaker)
    block = breaker.protect()
    block.__enter__()
    breaker.reset()
    error = ValueError("failed")
    block.__exit__(ValueError, error, None)
    assert breaker.is_closed
    assert breaker.stats.current_failures == 0
