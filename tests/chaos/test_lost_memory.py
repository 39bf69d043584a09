"""A server that loses its memory while a circuit is open: restarted empty, or flushed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from bb5_breaker._core.commands import Admit, Command, Restore
from bb5_breaker._core.replies import Reply
from tests.server.circuits import eventually
from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import Keys, fail_once, make_breaker

_WORKERS = 4
_OPEN_SECONDS = 1.2
_RULES = {
    "failure_threshold": 1,
    "timeout_seconds": _OPEN_SECONDS,
    "success_threshold": 2,
    "half_open_max_calls": 1,
}
_SETTINGS = {"store_timeout": 1.0, "store_retry_interval": 0.1, "heartbeat_interval": 0.3}


def _restart(server: RunningServer) -> None:
    server.kill()
    server.restart()


def _flush(server: RunningServer) -> None:
    server.client().flushall()


@pytest.fixture(params=[_restart, _flush], ids=["restarted", "flushed"])
def lose_memory(request: pytest.FixtureRequest) -> Callable[[RunningServer], None]:
    """What makes a server forget."""
    harm: Callable[[RunningServer], None] = request.param
    return harm


def test_an_answer_from_an_empty_store_lets_nobody_through(
    own_server: RunningServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when another process gives the circuit back just after that answer."""
    settings = {**_SETTINGS, "consistency": "strict"}
    assignment = Assignment(own_server.url, prefix, config=_RULES, settings=settings)
    with Crew(1, assignment) as crew:
        (other,) = crew.workers
        breaker = make_breaker(own_server.url, prefix, settings=settings, **_RULES)
        fail_once(breaker)
        assert breaker.call_result(int).was_rejected
        assert other.ask("calls", outcomes="s") == "r"
        own_server.client().flushall()
        store = breaker._link().store
        run = store.run

        def run_second(command: Command) -> Reply:
            if isinstance(command, Restore):
                assert other.ask("calls", outcomes="s") == "r"
            return run(command)

        monkeypatch.setattr(store, "run", run_second)
        assert breaker.call_result(int).was_rejected


def test_an_answer_from_an_empty_store_is_not_used_when_the_truth_came_first(
    own_server: RunningServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread of the process gives the circuit back while that answer is on its way."""
    settings = {**_SETTINGS, "consistency": "strict"}
    breaker = make_breaker(own_server.url, prefix, settings=settings, **_RULES)
    fail_once(breaker)
    assert breaker.call_result(int).was_rejected
    own_server.client().flushall()
    store = breaker._link().store
    run = store.run
    others: list[bool] = []

    def answer_late(command: Command) -> Reply:
        reply = run(command)
        if isinstance(command, Admit) and not others:
            others.append(True)
            other = threading.Thread(
                target=lambda: others.append(breaker.call_result(int).was_rejected)
            )
            other.start()
            other.join()
        return reply

    monkeypatch.setattr(store, "run", answer_late)
    assert breaker.call_result(int).was_rejected
    assert others == [True, True]


def test_who_knows_more_is_heard_though_another_gave_the_circuit_back_first(
    own_server: RunningServer, prefix: str
) -> None:
    """The circuit had been closed again, of which the process that came first had not heard."""
    settings = {**_SETTINGS, "consistency": "strict"}
    rules = {**_RULES, "timeout_seconds": 30.0}
    with Crew(1, Assignment(own_server.url, prefix, config=rules, settings=settings)) as crew:
        (late,) = crew.workers
        assert late.ask("calls", outcomes="fs") == "fr"
        breaker = make_breaker(own_server.url, prefix, settings=settings, **rules)
        assert breaker.call_result(int).was_rejected
        breaker.reset()
        assert breaker.call_result(int).success
        own_server.client().flushall()
        assert late.ask("calls", outcomes="s") == "r"
        assert breaker.call_result(int).success


def _have_confirmed(crew: Crew) -> None:
    """Let each worker hear from the store itself that the circuit is open, by its rejections.

    What was only pushed to it is not held against the store, see README.
    """
    eventually(
        lambda: crew.ask_all("calls", outcomes="s") == ["r"] * len(crew.workers), "all heard it"
    )
    crew.ask_all("flush")


@pytest.mark.usefixtures("both_modes")
def test_an_open_circuit_stays_open_everywhere_to_its_deadline(
    own_server: RunningServer, prefix: str, lose_memory: Callable[[RunningServer], None]
) -> None:
    """Nobody calls before its end; then one probe at a time, and the circuit closes."""
    assignment = Assignment(own_server.url, prefix, config=_RULES, settings=_SETTINGS)
    with Crew(_WORKERS, assignment) as crew:
        crew.ask_all("calls", outcomes="s")
        tripped = time.monotonic()
        assert crew.workers[0].ask("calls", outcomes="f") == "f"
        _have_confirmed(crew)
        for worker in crew.workers:
            worker.send("watched_calls", until=tripped + _OPEN_SECONDS + 0.7, hold=0.05)
        time.sleep(0.1)
        lose_memory(own_server)
        ran = sorted(moments for worker in crew.workers for moments in worker.receive())
        keys = Keys(own_server.client(), prefix)
        assert crew.ask_all("state") == ["closed"] * _WORKERS
    assert ran[0][0] >= tripped + _OPEN_SECONDS, ran[0][0] - tripped
    for probe, next_one in pairwise(ran[:3]):
        assert probe[1] <= next_one[0], "two probes at once"
    assert [state for state, _ in keys.transitions()] == ["open", "half_open", "closed"]


@pytest.mark.usefixtures("both_modes")
def test_the_store_is_told_again_once(
    own_server: RunningServer, prefix: str, lose_memory: Callable[[RunningServer], None]
) -> None:
    """The open state stands there with its deadline and its number, and one event says so."""
    rules = {**_RULES, "timeout_seconds": 30.0}
    assignment = Assignment(own_server.url, prefix, config=rules, settings=_SETTINGS)
    with Crew(_WORKERS, assignment) as crew:
        crew.ask_all("calls", outcomes="s")
        crew.workers[0].ask("calls", outcomes="f")
        _have_confirmed(crew)
        keys = Keys(own_server.client(), prefix)
        until, generation = int(keys.field("open_until_ms")), int(keys.field("generation"))
        lose_memory(own_server)
        keys = Keys(own_server.client(), prefix)
        ends = time.monotonic() + 3.0
        while keys.field("state") != "open" and time.monotonic() < ends:
            assert crew.ask_all("calls", outcomes="s") == ["r"] * _WORKERS
        assert keys.field("state") == "open"
        for _ in range(20):
            assert crew.ask_all("calls", outcomes="s") == ["r"] * _WORKERS
        assert abs(int(keys.field("open_until_ms")) - until) < 200
        assert int(keys.field("generation")) >= generation
    assert [state for state, _ in keys.transitions()] == ["open"]
    assert keys.without_expiry() == []


def test_a_closed_circuit_counts_from_anew_and_trips(
    own_server: RunningServer, prefix: str, lose_memory: Callable[[RunningServer], None]
) -> None:
    """Nothing was open: calls go on, and failures after the loss add up over the fleet."""
    rules = {**_RULES, "failure_threshold": _WORKERS, "timeout_seconds": 30.0}
    assignment = Assignment(own_server.url, prefix, config=rules, settings=_SETTINGS)
    with Crew(_WORKERS, assignment) as crew:
        crew.ask_all("calls", outcomes="s" * 10)
        lose_memory(own_server)
        keys = Keys(own_server.client(), prefix)
        eventually(
            lambda: crew.ask_all("calls", outcomes="s") and keys.field("total_successes"),
            "successes are counted",
        )
        crew.ask_all("flush")
        # The last of them sees the fourth failure, wherever the others made theirs.
        assert "".join(worker.ask("calls", outcomes="f") for worker in crew.workers) == "ffff"
        assert keys.field("state") == "open"
        eventually(lambda: crew.ask_all("calls", outcomes="s") == ["r"] * _WORKERS, "all heard it")
