"""Probes are leases: never too many at once, whatever dies, and never stuck."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
import uuid
from typing import Any

import pytest

from bb5_breaker import CircuitBreakerOpenError, CircuitState
from bb5_breaker._core.commands import Outcome
from bb5_breaker._core.replies import Verdict
from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import (
    Bench,
    Clock,
    Keys,
    fail_once,
    make_breaker,
)
from tests.support.workers_storm import Aftermath, Storm, run_storm


def _seconds(server: RunningServer) -> float:
    seconds, microseconds = server.client().time()
    return float(seconds) + float(microseconds) / 1e6


_ONE_PLACE: dict[str, Any] = {
    "failure_threshold": 1,
    "timeout_seconds": 0.01,
    "reset_timeout": 0.0,
    "success_threshold": 1,
    "half_open_max_calls": 1,
}


@functools.cache
def _two_hundred_episodes(url: str, mode: str) -> Aftermath:
    """Run the storm once a server and mode; several tests look at what was seen."""
    return run_storm(_storm(url))


def _storm(url: str) -> Storm:
    return Storm(url, f"t-storm-{uuid.uuid4().hex[:8]}", episodes=200)


def _check_progress(storm: Storm, seen: Aftermath) -> None:
    assert seen.finished, seen
    assert seen.kills >= storm.episodes / 2, seen
    assert seen.longest_gap < storm.lease + 1.0, seen
    assert seen.most_of_one <= storm.places, seen
    assert seen.most_inside > 1, "no two probes ever met: nothing was proven"


def test_half_open_never_overflows_or_wedges_while_a_third_of_the_probes_is_killed(
    server: RunningServer, both_modes: str
) -> None:
    """16 processes, 200 episodes, every third probe dies by SIGKILL: 3 places stay 3."""
    _check_progress(_storm(server.url), _two_hundred_episodes(server.url, both_modes))


def test_no_more_probes_than_places_are_alive_over_several_episodes(
    server: RunningServer, both_modes: str
) -> None:
    """In the same storm, probes that outlive their episode still take up their places."""
    seen = _two_hundred_episodes(server.url, both_modes)
    assert seen.most_inside <= _storm(server.url).places, seen


@pytest.mark.usefixtures("both_modes")
def test_a_probe_that_outlives_its_half_open_still_takes_up_its_place(
    server: RunningServer, prefix: str
) -> None:
    """Two places, one probe fails, the other runs on: the next half-open has one place."""
    rules = {**_ONE_PLACE, "half_open_max_calls": 2}
    with Crew(4, Assignment(server.url, prefix, config=rules)) as crew:
        crew.workers[0].ask("calls", outcomes="f")
        time.sleep(0.02)
        assert crew.workers[0].ask("begin")["admitted"]
        assert crew.workers[1].ask("begin")["admitted"]
        crew.workers[1].ask("end", outcome="f")
        time.sleep(0.02)
        answers = [worker.ask("begin")["admitted"] for worker in crew.workers[2:]]
        assert answers == [True, False], "three probes run at once, with two places"
        crew.workers[0].ask("end", outcome="n")
        assert crew.workers[3].ask("begin")["admitted"]


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("both_modes")
def test_the_same_for_two_thousand_episodes_with_kills_at_any_moment(
    server: RunningServer, prefix: str, seed: int
) -> None:
    """As above and longer, and workers die also before, between and after their probes."""
    storm = Storm(server.url, prefix, episodes=2000, killed_anywhere=True, seed=seed, seconds=500.0)
    seen = run_storm(storm)
    _check_progress(storm, seen)
    assert seen.most_inside <= storm.places, seen


@pytest.mark.usefixtures("both_modes")
def test_the_place_of_a_killed_probe_is_given_away_when_its_lease_ends_and_no_sooner(
    server: RunningServer, prefix: str
) -> None:
    """The next probe is admitted within the lease of the killed one, on the server's clock."""
    lease = 0.3
    assignment = Assignment(server.url, prefix, config={**_ONE_PLACE, "probe_lease": lease})
    keys = Keys(server.client(), prefix)
    with Crew(2, assignment) as crew:
        first, second = crew.workers
        first.ask("calls", outcomes="f")
        time.sleep(0.02)
        assert first.ask("begin")["admitted"]
        first.kill()
        killed = _seconds(server)
        ((_, score),) = keys.everything()["probes"]
        assert score / 1000 <= killed + lease
        while not (answer := second.ask("begin"))["admitted"]:
            # Never told to wait for longer than the lease that is in the way.
            assert answer["remaining"] <= lease
            assert answer["retry_at"] == pytest.approx(score / 1000, abs=0.002)
            assert _seconds(server) < killed + lease + 2.0, "stuck"
        admitted = _seconds(server)
        assert admitted >= score / 1000
        second.ask("end", outcome="s")
        assert second.ask("state") == "closed"


@pytest.mark.usefixtures("both_modes")
def test_a_probe_keeps_its_place_for_as_long_as_it_runs(server: RunningServer, prefix: str) -> None:
    """A probe that takes several leases is still the only one, and its result counts."""
    assignment = Assignment(server.url, prefix, config={**_ONE_PLACE, "probe_lease": 0.3})
    with Crew(2, assignment) as crew:
        first, second = crew.workers
        first.ask("calls", outcomes="f")
        time.sleep(0.02)
        first.send("begin_and_hold", seconds=1.2, outcome="s")
        ends = time.monotonic() + 1.0
        while Keys(server.client(), prefix).everything()["probes"] == []:
            assert time.monotonic() < ends
        asked = 0
        while time.monotonic() < ends:
            assert not second.ask("begin")["admitted"]
            asked += 1
        assert asked > 10
        assert first.receive() is not None
        assert second.ask("state") == "closed"


@pytest.mark.usefixtures("both_modes")
def test_a_frozen_probe_loses_its_place_and_its_late_success_closes_nothing(
    any_server: RunningServer, prefix: str
) -> None:
    """A process stopped for longer than its lease comes back as one whose result is past."""
    rules = {**_ONE_PLACE, "probe_lease": 0.15, "success_threshold": 2}
    keys = Keys(any_server.client(), prefix)
    with Crew(2, Assignment(any_server.url, prefix, config=rules)) as crew:
        first, second = crew.workers
        first.ask("calls", outcomes="f")
        time.sleep(0.02)
        assert first.ask("begin")["admitted"]
        os.kill(first.pid, signal.SIGSTOP)
        try:
            ends = time.monotonic() + 5
            while not second.ask("begin")["admitted"]:
                assert time.monotonic() < ends
            before = keys.field("successes"), keys.field("total_successes")
        finally:
            os.kill(first.pid, signal.SIGCONT)
        first.ask("end", outcome="s")
        assert (keys.field("successes"), keys.field("total_successes")) == before
        second.ask("end", outcome="s")
        assert keys.field("successes") == "1"
        assert keys.field("state") == "half_open"


@pytest.mark.usefixtures("both_modes")
def test_a_thrown_away_block_gives_its_place_back(any_server: RunningServer, prefix: str) -> None:
    """A block that was entered and lost is not kept alive for ever by this process."""
    breaker = make_breaker(any_server.url, prefix, **_ONE_PLACE, probe_lease=0.6)
    fail_once(breaker)
    time.sleep(0.02)
    breaker.protect().__enter__()
    ends = time.monotonic() + 10
    while not breaker.call_result(int).success:
        assert time.monotonic() < ends, "the place is held for ever"
    assert breaker.is_closed


def test_a_lease_is_over_at_its_last_millisecond_for_all(
    server: RunningServer, prefix: str
) -> None:
    """At the end of a lease its holder's result is past, and another may have the place."""
    clock = Clock()
    rules: dict[str, Any] = {"timeout_seconds": 1.0, "probe_lease": 2.0}
    bench = Bench(server.client(), server.url, prefix, clock, failure_threshold=1, **rules)
    bench.record("f")
    clock.advance(1000)
    leave = bench.admit("t1")
    assert leave.until_ms == clock.now_ms + 2000
    clock.advance(1999)
    assert bench.admit("t2").until_ms == clock.now_ms + 1
    assert bench.extend(leave).verdict is Verdict.HELD
    clock.advance(1999)
    assert bench.admit("t2").verdict is Verdict.REJECT
    clock.advance(1)
    assert bench.extend(leave).verdict is Verdict.LOST
    assert bench.settle(Outcome.SUCCESS, leave).verdict is Verdict.STALE
    assert bench.admit("t2").verdict is Verdict.PROBE
    assert bench.settle(Outcome.FAILURE, leave).verdict is Verdict.STALE
    assert bench.keys.field("state") == "half_open"


@pytest.mark.usefixtures("both_modes")
def test_threads_of_one_process_share_the_places_as_well(
    any_server: RunningServer, prefix: str
) -> None:
    """Twelve threads at a half-open circuit with two places: two run, ten are rejected."""
    rules = {**_ONE_PLACE, "half_open_max_calls": 2, "success_threshold": 2}
    breaker = make_breaker(any_server.url, prefix, **rules)
    fail_once(breaker)
    time.sleep(0.02)
    together, leave = threading.Barrier(12), threading.Event()
    ran: list[int] = []
    rejected: list[CircuitBreakerOpenError] = []

    def run() -> None:
        ran.append(1)
        leave.wait(10)

    def ask() -> None:
        together.wait()
        try:
            breaker.call(run)
        except CircuitBreakerOpenError as rejection:
            rejected.append(rejection)
            if len(rejected) == 10:
                leave.set()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert (len(ran), len(rejected)) == (2, 10)
    assert {rejection.state for rejection in rejected} == {CircuitState.HALF_OPEN}
    assert breaker.stats.rejection_count == 10
    assert breaker.is_closed
