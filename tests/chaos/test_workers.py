"""Workers that are killed, or stopped for longer than their lease, at any point of a call."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import redis

from tests.server.circuits import eventually
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew, Worker
from tests.support.workers_circuit import Keys

_LEASE = 0.25
_RULES: dict[str, Any] = {
    "failure_threshold": 1,
    "timeout_seconds": 0.02,
    "reset_timeout": 0.0,
    "success_threshold": 2,
    "half_open_max_calls": 1,
    "probe_lease": _LEASE,
}


@contextmanager
def _stopped(worker: Worker) -> Iterator[None]:
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


def _await_place(worker: Worker) -> float:
    """Have a worker enter as a probe; return how long it had to wait for the place."""
    begun = time.monotonic()
    while not worker.ask("begin")["admitted"]:
        assert time.monotonic() < begun + _LEASE + 1.0, "the place is held for ever"
    return time.monotonic() - begun


def _facts(keys: Keys) -> list[str]:
    """Return what a result would change."""
    names = ("state", "generation", "successes", "failures", "total_successes", "total_failures")
    return [keys.field(name) for name in names]


@pytest.fixture
def keys(client: redis.Redis, prefix: str) -> Keys:
    """What the server holds of the circuit."""
    return Keys(client, prefix)


@pytest.fixture
def workers(
    proxy: Proxy, own_server: RunningServer, prefix: str
) -> Iterator[tuple[Worker, Worker]]:
    """Two before a circuit that is due for a probe; the first is reached through the proxy."""
    # Views are of no use while probes are asked for, and heartbeats would be in the way.
    settings = {"consistency": "strict", "store_timeout": 30.0}

    def hire(url: str) -> Crew:
        return Crew(1, Assignment(url, prefix, config=_RULES, settings=settings))

    with hire(proxy.url) as far, hire(own_server.url) as near:
        (first,), (second,) = far.workers, near.workers
        first.ask("state")
        second.ask("calls", outcomes="f")
        time.sleep(_RULES["timeout_seconds"] * 2)
        yield first, second


@pytest.mark.parametrize("outcome", ["s", "f"])
def test_stopped_while_it_asks(
    proxy: Proxy, workers: tuple[Worker, Worker], keys: Keys, outcome: str
) -> None:
    """The place was given, and the answer is read a lease later: its result changes nothing."""
    first, second = workers
    proxy.calls.hold()
    first.send("calls", outcomes=outcome)
    eventually(lambda: keys.everything()["probes"], "it has the place")
    with _stopped(first):
        proxy.calls.release()
        assert _await_place(second) < _LEASE + 0.5
        before = _facts(keys)
    assert first.receive() == outcome, "nothing can call it back"
    assert _facts(keys) == before
    second.ask("end", outcome="s")
    assert keys.field("successes") == "1"


@pytest.mark.parametrize("outcome", ["s", "f", "n"])
def test_stopped_inside(workers: tuple[Worker, Worker], keys: Keys, outcome: str) -> None:
    """It wakes up inside its call, whose place is another's by now."""
    first, second = workers
    assert first.ask("begin")["admitted"]
    with _stopped(first):
        assert _await_place(second) < _LEASE + 0.5
        before = _facts(keys)
    first.ask("end", outcome=outcome)
    assert _facts(keys) == before
    second.ask("end", outcome="s")
    assert keys.field("successes") == "1", "it freed the other's place"


@pytest.mark.parametrize("outcome", ["s", "f", "n"])
def test_stopped_while_its_report_is_on_its_way(
    proxy: Proxy, workers: tuple[Worker, Worker], keys: Keys, outcome: str
) -> None:
    """The report arrives a lease later, when the place is another's: it changes nothing."""
    first, second = workers
    assert first.ask("begin")["admitted"]
    proxy.calls.stall()
    first.send("end", outcome=outcome)
    eventually(lambda: proxy.calls.stalled_bytes > 0, "the report is on its way")
    with _stopped(first):
        assert _await_place(second) < _LEASE + 0.5
        before = _facts(keys)
    proxy.calls.flow()
    first.receive()
    assert _facts(keys) == before
    second.ask("end", outcome="s")
    assert keys.field("successes") == "1"


@pytest.mark.parametrize(
    "seconds", [2.5, pytest.param(60.0, marks=[pytest.mark.soak, pytest.mark.timeout(150)])]
)
@pytest.mark.usefixtures("both_modes")
def test_killed_and_stopped_at_any_moment(
    any_server: RunningServer, prefix: str, seconds: float
) -> None:
    """No place is lost for longer than its lease, and each step of the circuit follows the last."""
    chance = random.Random(4)
    client = any_server.client()
    keys = Keys(client, prefix)
    ends = time.monotonic() + seconds
    with Crew(8, Assignment(any_server.url, prefix, config=_RULES)) as crew:
        for number, worker in enumerate(crew.workers):
            outcome = "ssf"[number % 3]
            worker.send("watched_calls", until=ends, hold=0.01, outcome=outcome)
        living = list(crew.workers)
        while time.monotonic() < ends - 2 * _LEASE:
            time.sleep(chance.uniform(0.0, 0.05))
            victim = chance.choice(living)
            if len(living) > 4 and chance.random() < 0.3:
                living.remove(victim)
                victim.kill()
            else:
                with _stopped(victim):
                    time.sleep(_LEASE * chance.uniform(0.1, 1.3))
        for worker in living:
            made = worker.receive()
            assert made, "a worker never got through"
    _check_steps(keys.transitions())
    entered = [_moment(entry) for entry in client.xrange(keys.events)]
    gaps = [later - earlier for earlier, later in pairwise(entered)]
    assert max(gaps) < _LEASE + 1.0, sorted(gaps)[-3:]


def _check_steps(history: list[tuple[str, int]]) -> None:
    """Each transition is the next of the one before, and one that can follow it."""
    assert len(history) > 10
    allowed = {"closed": {"open"}, "open": {"half_open"}, "half_open": {"open", "closed"}}
    for (state, generation), (following, number) in pairwise(history):
        assert number == generation + 1
        assert following in allowed[state]


def _moment(entry: tuple[bytes, dict[bytes, bytes]]) -> float:
    return int(entry[0].split(b"-")[0]) / 1000
