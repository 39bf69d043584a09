"""Every call counts, and counts once; the window holds exactly the last calls of the fleet."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    CountRejections,
    Extend,
    Forget,
    Outcome,
    Record,
    Reset,
    Run,
    Settle,
    Snapshot,
)
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView, Reply, Verdict
from bb5_breaker._store.codec import Codec
from bb5_breaker._store.decoding import read_view
from bb5_breaker._store.senders import Sender
from bb5_breaker._store.server import Server
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.exceptions import StoreDataError, StoreError
from bb5_breaker.state import CircuitState
from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import (
    Bench,
    Clock,
    Keys,
    fail_once,
    make_breaker,
    snapshot_of,
)

_NEVER = 1_000_000


@pytest.mark.usefixtures("both_modes")
def test_concurrent_failures_of_eight_processes_are_counted_exactly(
    server: RunningServer, prefix: str
) -> None:
    """Eight processes fail 1,000 times each, all at once: 8,000 failures in a row."""
    rules = {"failure_threshold": _NEVER}
    with Crew(8, Assignment(server.url, prefix, config=rules)) as crew:
        crew.ask_together("calls", outcomes="f" * 1000)
        figures = crew.workers[0].ask("stats")
    assert figures["current_failures"] == figures["failed_calls"] == 8000
    assert figures["total_calls"] == 8000
    assert (figures["window_calls"], figures["window_failures"]) == (100, 100)


@pytest.mark.usefixtures("both_modes")
def test_concurrent_failures_and_successes_are_counted_exactly(
    server: RunningServer, prefix: str
) -> None:
    """Mixed outcomes of eight processes add up to what each of them saw."""
    rules = {"failure_threshold": _NEVER, "sliding_window_size": 100_000}
    with Crew(8, Assignment(server.url, prefix, config=rules)) as crew:
        for seed, worker in enumerate(crew.workers):
            worker.send("mixed_calls", count=500, seed=seed)
        seen = [worker.receive() for worker in crew.workers]
        # Each brings its own successes along; the last one sees all.
        figures = [worker.ask("stats") for worker in crew.workers][-1]
    successes, failures = (sum(column) for column in zip(*seen, strict=True))
    assert successes + failures == 4000
    assert figures["successful_calls"] == successes
    assert figures["failed_calls"] == figures["window_failures"] == failures
    assert figures["window_calls"] == 4000


class _Wire:
    """Sends the same bytes to a server as often as wanted."""

    def __init__(self, bench: Bench) -> None:
        self._codec = Codec(bench.store.rules, bench.clock)
        self._sender = Sender("someone/0.0")
        self._server = Server(bench.store.client, bench.store.address)

    def prepare(self, command: Command) -> Callable[[], CircuitView]:
        """Return a function that delivers one report; twice is a repeat of it."""
        self._sender.sequence += 1
        call = self._codec.encode(command, self._sender)
        return lambda: read_view(self._server.evaluate(call))


@pytest.fixture
def clock() -> Clock:
    """The clock of `bench`."""
    return Clock()


@pytest.fixture
def bench(server: RunningServer, prefix: str, clock: Clock) -> Bench:
    """A circuit with three failures to its threshold and two places for probes."""
    return Bench(
        server.client(),
        server.url,
        prefix,
        clock,
        failure_threshold=3,
        timeout_seconds=60.0,
        success_threshold=5,
        half_open_max_calls=2,
    )


@pytest.fixture
def due(bench: Bench, clock: Clock) -> Bench:
    """The same circuit, tripped, at the end of its open period."""
    bench.record("fff")
    clock.advance(60_000)
    return bench


def _twice(bench: Bench, deliver: Callable[[], CircuitView]) -> tuple[Verdict, Verdict]:
    first = deliver().verdict
    before = bench.keys.everything()
    second = deliver().verdict
    assert bench.keys.everything() == before
    return first, second


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.FAILURE])
def test_a_report_delivered_twice_counts_once(bench: Bench, outcome: Outcome) -> None:
    """The second delivery of a report of closed calls changes nothing at all."""
    bench.record("s")
    report = Record(bench.circuit, 0, "", (Run(outcome, 2),), "E")
    assert _twice(bench, _Wire(bench).prepare(report)) == (Verdict.RECORDED, Verdict.REPEAT)


def test_the_first_report_of_a_circuit_delivered_twice_counts_once(bench: Bench) -> None:
    """Also the report that makes the circuit may come twice."""
    report = Record(bench.circuit, 0, "", (Run(Outcome.FAILURE, 1),), "E")
    assert _twice(bench, _Wire(bench).prepare(report)) == (Verdict.RECORDED, Verdict.REPEAT)
    assert bench.keys.field("failures") == "1"


def test_a_tripping_report_delivered_twice_trips_once(bench: Bench) -> None:
    """The repeat of the report that opened the circuit neither counts nor prolongs."""
    report = Record(bench.circuit, 0, "", (Run(Outcome.FAILURE, 3),), "E")
    assert _twice(bench, _Wire(bench).prepare(report))[0] is Verdict.RECORDED
    assert bench.keys.transitions() == [("open", 1)]


def test_of_a_batch_nothing_counts_after_the_failure_that_trips(bench: Bench) -> None:
    """What follows the tripping failure was admitted before the trip: it is left out."""
    bench.record([Run(Outcome.SUCCESS, 2), Run(Outcome.FAILURE, 7), Run(Outcome.SUCCESS, 4)])
    counted = [bench.keys.field(name) for name in ("total_successes", "total_failures", "failures")]
    assert counted == ["2", "3", "3"]


def test_a_late_repeat_does_not_count_after_newer_reports(bench: Bench) -> None:
    """A report that the network delivers again after the sender's next one is recognised."""
    wire = _Wire(bench)
    older = wire.prepare(Record(bench.circuit, 0, "", (Run(Outcome.FAILURE, 1),), "E"))
    newer = wire.prepare(Record(bench.circuit, 0, "", (Run(Outcome.SUCCESS, 1),), ""))
    older()
    newer()
    before = bench.keys.everything()
    assert older().verdict is Verdict.REPEAT
    assert bench.keys.everything() == before


@pytest.mark.parametrize("failures", [1, 2])
def test_a_repeated_report_is_told_the_circuit_as_it_is(bench: Bench, failures: int) -> None:
    """Its failures are not told as if they had counted again, let alone tripped."""
    report = Record(bench.circuit, 0, "", (Run(Outcome.FAILURE, failures),), "E")
    deliver = _Wire(bench).prepare(report)
    deliver()
    told = deliver()
    assert (told.verdict, told.state, told.failures) == (
        Verdict.REPEAT,
        CircuitState.CLOSED,
        failures,
    )


@pytest.mark.parametrize("failures", [1, 3])
def test_a_repeated_report_of_a_forgotten_circuit_is_told_that_there_is_none(
    bench: Bench, failures: int
) -> None:
    """It makes no circuit, so it must not be given the name of one."""
    report = Record(bench.circuit, 0, "", (Run(Outcome.FAILURE, failures),), "E")
    deliver = _Wire(bench).prepare(report)
    deliver()
    bench.store.run(Forget(bench.circuit))
    told = deliver()
    assert (told.verdict, told.epoch, told.generation, told.failures) == (Verdict.REPEAT, "", 0, 0)
    assert not bench.keys.field("state")


def test_two_lives_in_one_millisecond_have_names_of_their_own(bench: Bench) -> None:
    """A call of a circuit that was forgotten counts nowhere, however soon there is a new one."""
    before = bench.record("s")
    bench.store.run(Forget(bench.circuit))
    after = bench.record("s")
    assert after.epoch != before.epoch
    assert bench.record("f", before).verdict is Verdict.STALE


def test_a_reset_delivered_twice_resets_once(bench: Bench) -> None:
    """A reset that arrives again must not close a circuit that tripped since."""
    bench.record("fff")
    reset = _Wire(bench).prepare(Reset(bench.circuit))
    assert reset().verdict is Verdict.RESET
    opened = bench.record("fff", bench.admit())
    assert opened.verdict is Verdict.RECORDED
    before = bench.keys.everything()
    assert reset().verdict is Verdict.REPEAT
    assert bench.keys.everything() == before
    assert bench.keys.field("state") == "open"


def test_clearing_delivered_twice_clears_once(bench: Bench) -> None:
    """Statistics gathered after a clearing survive its repeat."""
    bench.record("fs")
    clear = _Wire(bench).prepare(Clear(bench.circuit))
    assert clear().verdict is Verdict.CLEARED
    bench.record("f")
    before = bench.keys.everything()
    assert clear().verdict is Verdict.REPEAT
    assert bench.keys.everything() == before


def test_an_admission_delivered_twice_takes_one_place(due: Bench) -> None:
    """The repeat gets the same place, with the same end of its lease; no other is taken."""
    admit = _Wire(due).prepare(Admit(due.circuit, "token"))
    first = admit()
    before = due.keys.everything()
    again = admit()
    assert first.verdict is again.verdict is Verdict.PROBE
    assert first.until_ms == again.until_ms
    assert due.keys.everything() == before
    assert due.admit("other").verdict is Verdict.PROBE
    assert due.admit("third").verdict is Verdict.REJECT


def test_an_admission_repeated_after_its_probe_ended_takes_no_place(due: Bench) -> None:
    """A late repeat of an admission must not lease a place that nobody would give back."""
    admit = _Wire(due).prepare(Admit(due.circuit, "token"))
    admit()
    leave = due.admit("other")
    due.settle(Outcome.NEUTRAL, leave, "token")
    assert admit().verdict is Verdict.REJECT
    assert len(due.keys.everything()["probes"]) == 1


def test_a_rejection_delivered_twice_is_counted_once(due: Bench) -> None:
    """Rejections count once as well."""
    for token in ("a", "b"):
        due.admit(token)
    admit = _Wire(due).prepare(Admit(due.circuit, "token"))
    assert _twice(due, admit) == (Verdict.REJECT, Verdict.REJECT)
    assert due.keys.field("rejections") == "1"


@pytest.mark.parametrize("outcome", list(Outcome), ids=lambda outcome: outcome.value)
def test_the_end_of_a_probe_delivered_twice_counts_once(due: Bench, outcome: Outcome) -> None:
    """The repeat of a probe's end finds its place gone and changes nothing."""
    leave = due.admit("t1")
    end = Settle(due.circuit, leave.generation, leave.epoch, "t1", outcome, "")
    assert _twice(due, _Wire(due).prepare(end)) == (Verdict.SETTLED, Verdict.STALE)


_OUTCOMES = {"s": Outcome.SUCCESS, "f": Outcome.FAILURE}
_LATE_RULES: dict[str, Any] = {"failure_threshold": 5, "timeout_seconds": 60.0}


@pytest.fixture
def reporters(server: RunningServer, prefix: str, clock: Clock) -> list[Bench]:
    """Eight reporters of one circuit with five failures to its threshold."""
    return [Bench(server.client(), server.url, prefix, clock, **_LATE_RULES) for _ in range(8)]


def _report(bench: Bench, runs: str, age_ms: int) -> tuple[CircuitState, int]:
    """Report calls of which the first run ended a while ago; return state and failures."""
    letters = [(letter, len(list(same))) for letter, same in groupby(runs)]
    batch = tuple(Run(_OUTCOMES[letter], count) for letter, count in letters)
    view = _view(bench.store.run(Record(bench.circuit, 0, "", batch, "ServiceFailed", age_ms)))
    return view.state, view.failures


def _view(reply: Reply) -> CircuitView:
    assert isinstance(reply, CircuitView)
    return reply


def test_successes_from_before_a_streak_do_not_keep_it_from_tripping(
    reporters: list[Bench], clock: Clock
) -> None:
    """Reporters tell late successes between failures; the fifth failure trips all the same."""
    reporters[0].record("s")
    for failures in range(1, 5):
        clock.advance(10)
        assert _report(reporters[0], "f", 0) == (CircuitState.CLOSED, failures)
        for reporter in reporters:
            # All of them ended 5 ms before the first failure was told.
            told = _report(reporter, "ss", 10 * failures - 5)
            assert told == (CircuitState.CLOSED, failures)
    assert reporters[1].record("f").state is CircuitState.OPEN
    keys = reporters[0].keys
    assert [keys.field(name) for name in ("failures", "total_successes")] == ["5", "65"]


def test_a_late_success_in_one_batch_with_a_failure_does_not_keep_it_from_tripping(
    reporters: list[Bench], clock: Clock
) -> None:
    """A failure brings along the successes that its process gathered before the streak."""
    for failures, reporter in enumerate(reporters[:4], start=1):
        assert _report(reporter, "ssf", 50) == (CircuitState.CLOSED, failures)
        clock.advance(10)
    assert _report(reporters[4], "ssf", 50)[0] is CircuitState.OPEN


@pytest.mark.parametrize(("age_ms", "failures"), [(301, 2), (300, 0), (299, 0), (0, 0)])
def test_a_success_that_ended_within_the_streak_ends_it(
    reporters: list[Bench], clock: Clock, age_ms: int, failures: int
) -> None:
    """What counts is the first failure of the streak; the same millisecond is within it."""
    reporters[0].record("f")
    clock.advance(200)
    reporters[1].record("f")
    clock.advance(100)
    assert _report(reporters[2], "s", age_ms) == (CircuitState.CLOSED, failures)


def test_only_the_first_run_of_a_batch_is_old(reporters: list[Bench], clock: Clock) -> None:
    """Late successes, a failure, and a success that has just ended: that one ends the streak."""
    reporters[0].record("f")
    clock.advance(100)
    assert _report(reporters[1], "ssf", 200) == (CircuitState.CLOSED, 2)
    assert _report(reporters[1], "ssfs", 200) == (CircuitState.CLOSED, 0)


def test_a_streak_that_follows_another_begins_anew(reporters: list[Bench], clock: Clock) -> None:
    """A success from between two streaks is from before the second, however old the first is."""
    reporters[0].record("ff")
    clock.advance(100)
    reporters[0].record("s")
    clock.advance(100)
    reporters[1].record("f")
    assert _report(reporters[2], "s", 50) == (CircuitState.CLOSED, 1)
    assert _report(reporters[2], "s", 0) == (CircuitState.CLOSED, 0)


def test_a_clock_that_was_set_back_lets_successes_end_a_streak(
    reporters: list[Bench], clock: Clock
) -> None:
    """A streak that begins in the future says nothing about a success: it counts as one."""
    reporters[0].record("f")
    clock.advance(-60_000)
    assert _report(reporters[1], "s", 50) == (CircuitState.CLOSED, 0)


def test_a_streak_that_left_the_window_is_ended_by_the_next_success(
    server: RunningServer, prefix: str, clock: Clock
) -> None:
    """Late successes fill the window; the next one must not pass for one of a healthy circuit."""
    bench = Bench(server.client(), server.url, prefix, clock, sliding_window_size=3, **_LATE_RULES)
    bench.record("ff")
    clock.advance(100)
    assert _report(bench, "ssss", 200) == (CircuitState.CLOSED, 2)
    stored = snapshot_of(bench.store.run(Snapshot(bench.circuit)))
    assert (stored.window_calls, stored.window_failures) == (3, 0)
    bench.record("s")
    assert bench.record("f").failures == 1


def test_a_late_success_never_trips(reporters: list[Bench], clock: Clock) -> None:
    """Not even for a worker whose threshold the fleet's failures have passed already."""
    reporters[0].record("ffff")
    clock.advance(100)
    config = CircuitBreakerConfig(failure_threshold=2)
    reporters[1].circuit = Circuit.of(reporters[1].circuit.service, config)
    assert _report(reporters[1], "s", 200) == (CircuitState.CLOSED, 4)
    assert _report(reporters[1], "f", 0)[0] is CircuitState.OPEN


@pytest.mark.parametrize("history", ["s", "f"])
@pytest.mark.parametrize(
    ("runs", "age_ms"),
    [("s", -1), ("s", 1.5), ("s", 1_900_000_000_001), ("s", "soon"), ("fs", 1)],
)
def test_an_impossible_age_is_refused(bench: Bench, history: str, runs: str, age_ms: Any) -> None:
    """Negative, no whole number, from before all time, or of failures: nothing is written."""
    bench.record(history)
    before = bench.keys.everything()
    with pytest.raises(StoreError, match=rf'age_ms .* got "{age_ms}"'):
        _report(bench, runs, age_ms)
    assert bench.keys.everything() == before


def test_a_damaged_begin_of_a_streak_is_named(bench: Bench) -> None:
    """The error says which field to correct."""
    bench.record("f")
    bench.client.hset(bench.keys.circuit, "streak_ms", "long ago")
    with pytest.raises(StoreDataError, match=r'field "streak_ms" .* holds "long ago"'):
        bench.record("s")


def _told(view: CircuitView) -> tuple[Any, ...]:
    """What a process learns of a circuit whose calls it rejects."""
    return view.verdict, view.state, view.generation, view.until_ms, view.failures, view.last_error


def test_rejections_are_counted_in_bulk(bench: Bench, clock: Clock) -> None:
    """The number is added, and the reply shows the circuit as it is."""
    opened = bench.record("fff")
    until_ms = clock() + 60_000
    clock.advance(1000)
    for _ in range(2):
        counted = _view(bench.store.run(CountRejections(bench.circuit, opened.epoch, 700)))
        expected = (Verdict.COUNTED, CircuitState.OPEN, 1, until_ms, 3, "ServiceFailed")
        assert _told(counted) == expected
        assert (counted.now_ms, counted.epoch) == (clock(), opened.epoch)
    assert bench.keys.field("rejections") == "1400"


def test_rejections_delivered_twice_count_once(bench: Bench) -> None:
    """A repeat changes nothing and is told the circuit all the same."""
    opened = bench.record("fff")
    rejections = CountRejections(bench.circuit, opened.epoch, 7)
    deliver = _Wire(bench).prepare(rejections)
    assert _twice(bench, deliver) == (Verdict.COUNTED, Verdict.REPEAT)
    assert bench.keys.field("rejections") == "7"
    assert deliver().until_ms == opened.until_ms


def test_rejections_end_no_open_period_and_show_what_came_after_it(
    due: Bench, clock: Clock
) -> None:
    """Whoever reports them late learns that the circuit moved on, and moves nothing."""
    epoch = due.keys.field("epoch")
    rejections = CountRejections(due.circuit, epoch, 1)
    expected = (Verdict.COUNTED, CircuitState.OPEN, 1, clock(), 3, "ServiceFailed")
    assert _told(_view(due.store.run(rejections))) == expected
    leave = due.admit("t1")
    expected = (Verdict.COUNTED, CircuitState.HALF_OPEN, 2, 0, 3, "ServiceFailed")
    assert _told(_view(due.store.run(rejections))) == expected
    for token in ("t1", "t2", "t3", "t4", "t5"):
        due.admit(token)
        due.settle(Outcome.SUCCESS, leave, token)
    expected = (Verdict.COUNTED, CircuitState.CLOSED, 3, 0, 0, "ServiceFailed")
    assert _told(_view(due.store.run(rejections))) == expected
    assert due.keys.field("rejections") == "3"


def test_rejections_of_another_life_of_the_circuit_are_not_counted(
    bench: Bench, clock: Clock
) -> None:
    """Lost, or begun anew: they are of the past, and nothing is written."""
    rejections = CountRejections(bench.circuit, bench.record("fff").epoch, 7)
    bench.client.delete(*bench.keys.own())
    none = (Verdict.STALE, CircuitState.CLOSED, 0, 0, 0, "")
    assert _told(_view(bench.store.run(rejections))) == none
    assert bench.keys.own() == []
    clock.advance(5)
    again = bench.record("fff")
    before = bench.keys.everything()
    told = _view(bench.store.run(rejections))
    assert _told(told) == (Verdict.STALE, *_told(again)[1:])
    assert told.epoch == again.epoch
    assert bench.keys.everything() == before


def test_rejections_without_a_life_of_the_circuit_are_not_counted(bench: Bench) -> None:
    """A view of a circuit that was not stored rejects nothing: no circuit is made for it."""
    rejections = CountRejections(bench.circuit, "", 7)
    assert _view(bench.store.run(rejections)).verdict is Verdict.STALE
    assert bench.keys.own() == []
    bench.record("fff")
    assert _view(bench.store.run(rejections)).verdict is Verdict.STALE
    assert bench.keys.field("rejections") == ""


def test_counting_rejections_prolongs_nothing(bench: Bench) -> None:
    """A circuit that only rejects expires in its time."""
    opened = bench.record("fff")
    for key in bench.keys.own():
        bench.client.pexpire(key, 20_000)
    bench.store.run(CountRejections(bench.circuit, opened.epoch, 7))
    lives = {key: bench.client.pttl(key) for key in bench.keys.own() if ":sender:" not in key}
    assert lives
    assert all(0 < life <= 20_000 for life in lives.values()), lives


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_an_impossible_number_of_rejections_is_refused(bench: Bench, count: Any) -> None:
    """Nothing is written."""
    opened = bench.record("fff")
    before = bench.keys.everything()
    with pytest.raises(StoreError, match="count must be a whole number"):
        bench.store.run(CountRejections(bench.circuit, opened.epoch, count))
    assert bench.keys.everything() == before


def test_a_renewal_delivered_after_its_probe_ended_brings_nothing_back(due: Bench) -> None:
    """A lease that was settled stays settled when a renewal comes late."""
    leave = due.admit("t1")
    renewal = _Wire(due).prepare(Extend(due.circuit, leave.epoch, "t1"))
    due.settle(Outcome.SUCCESS, leave)
    assert _twice(due, renewal) == (Verdict.LOST, Verdict.LOST)
    assert due.keys.everything()["probes"] == []


class _FleetWindow:
    """What the window must be: the latest calls, one entry each."""

    def __init__(self) -> None:
        self.calls: deque[bool] = deque()

    def add(self, runs: list[Run], size: int) -> None:
        """Append the calls of a batch, then keep the latest ``size``."""
        for run in runs:
            self.calls.extend([run.outcome is Outcome.FAILURE] * run.count)
        while len(self.calls) > size:
            self.calls.popleft()

    @property
    def figures(self) -> tuple[int, int]:
        """Calls and failures."""
        return len(self.calls), sum(self.calls)


_RUN = st.builds(
    Run, st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE]), st.integers(min_value=1, max_value=9)
)
_BATCHES = st.lists(st.lists(_RUN, min_size=1, max_size=6), min_size=1, max_size=12)
_QUICK = settings(
    max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class _Workers:
    """Workers of one circuit, each with a window size of its own."""

    def __init__(self, server: RunningServer, prefix: str) -> None:
        self.client = server.client()
        self._bench = Bench(self.client, server.url, f"{prefix}-{uuid.uuid4().hex[:6]}", Clock())
        self.keys = self._bench.keys

    def record(self, runs: list[Run], size: int) -> None:
        """Report a batch as a worker that is configured with that size."""
        config = CircuitBreakerConfig(failure_threshold=_NEVER, sliding_window_size=size)
        circuit = Circuit.of("svc", config)
        self._bench.store.run(Record(circuit, 0, "", tuple(runs), "E"))

    @property
    def figures(self) -> tuple[int, int]:
        """Calls and failures in the window as stored."""
        stored = snapshot_of(self._bench.store.run(Snapshot(self._bench.circuit)))
        return stored.window_calls, stored.window_failures


@_QUICK
@given(batches=_BATCHES, size=st.integers(min_value=1, max_value=25))
def test_the_window_is_exactly_the_last_calls(
    server: RunningServer, prefix: str, batches: list[list[Run]], size: int
) -> None:
    """After each batch the window equals a plain queue of the last sliding_window_size calls."""
    workers, expected = _Workers(server, prefix), _FleetWindow()
    for batch in batches:
        workers.record(batch, size)
        expected.add(batch, size)
        assert workers.figures == expected.figures
        assert workers.client.zcard(workers.keys.window) <= size + 1


@_QUICK
@given(batches=_BATCHES, sizes=st.lists(st.integers(1, 25), min_size=12, max_size=12))
def test_the_window_is_exact_when_workers_disagree_about_its_size(
    server: RunningServer, prefix: str, batches: list[list[Run]], sizes: list[int]
) -> None:
    """A smaller window drops what a larger one kept; no failure that left it comes back."""
    workers, expected = _Workers(server, prefix), _FleetWindow()
    for batch, size in zip(batches, sizes, strict=False):
        workers.record(batch, size)
        expected.add(batch, size)
        assert workers.figures == expected.figures


@_QUICK
@given(before=_BATCHES, after=_BATCHES, size=st.integers(min_value=1, max_value=25))
def test_a_window_whose_key_was_deleted_is_right_again_once_it_has_been_refilled(
    server: RunningServer, prefix: str, before: list[list[Run]], after: list[list[Run]], size: int
) -> None:
    """Figures stay possible after a loss, and are exact when a whole window came in since."""
    workers, expected = _Workers(server, prefix), _FleetWindow()
    for batch in before:
        workers.record(batch, size)
        expected.add(batch, size)
    workers.client.delete(workers.keys.window)
    # A new run of each outcome, so that the window is known to start in what follows.
    refill = [Run(Outcome.SUCCESS, 1), Run(Outcome.FAILURE, 1)]
    count = 0
    for batch in [*after, *([refill] * (size + 1))]:
        workers.record(batch, size)
        expected.add(batch, size)
        count += sum(run.count for run in batch)
        calls, failures = workers.figures
        assert 0 <= failures <= calls <= size
        if count > 2 * size:
            assert (calls, failures) == expected.figures


def test_a_batch_that_slides_past_a_deleted_window_leaves_no_failure_behind(
    server: RunningServer, prefix: str
) -> None:
    """Five failures, the window key is deleted, then seven successes: a window of five is clean."""
    workers = _Workers(server, prefix)
    workers.record([Run(Outcome.FAILURE, 5)], 5)
    workers.client.delete(workers.keys.window)
    workers.record([Run(Outcome.SUCCESS, 7)], 5)
    assert workers.figures == (5, 0)


def test_a_circuit_whose_hash_was_lost_does_not_inherit_the_old_window(
    server: RunningServer, prefix: str
) -> None:
    """Deleted or evicted alone, the hash starts anew, and the runs of its past are not counted."""
    breaker = make_breaker(server.url, prefix, failure_threshold=_NEVER, sliding_window_size=3)
    fail_once(breaker)
    breaker.call(int)
    fail_once(breaker)
    client = server.client()
    client.delete(Keys(client, prefix).circuit)
    for _ in range(6):
        fail_once(breaker)
        figures = breaker.stats
        assert figures.window_failures == figures.window_calls <= 3


def test_an_idle_circuit_expires_with_its_window(server: RunningServer, prefix: str) -> None:
    """The window never outlives the hash, whose next life would count its runs again."""
    breaker = make_breaker(server.url, prefix, settings={"idle_ttl": 1.0}, failure_threshold=_NEVER)
    client = server.client()
    keys = Keys(client, prefix)
    fail_once(breaker)
    time.sleep(0.3)
    breaker.call(int)
    assert client.pttl(keys.window) <= client.pttl(keys.circuit) + 20
