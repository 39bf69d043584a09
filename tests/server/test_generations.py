"""What was admitted before a transition changes nothing after it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

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
    settings_restored,
)

_RULES: dict[str, Any] = {
    "failure_threshold": 2,
    "timeout_seconds": 0.03,
    "reset_timeout": 0.0,
    "success_threshold": 2,
    "half_open_max_calls": 2,
}


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    with settings_restored():
        yield


def _lasting(keys: Keys) -> dict[str, Any]:
    """All that is stored but the cooldown: a real timer, which may end at any moment."""
    return {**keys.everything(), "cooldown": None}


@pytest.mark.parametrize("outcome", ["s", "f", "n"])
def test_a_call_admitted_while_closed_changes_nothing_in_any_later_state(
    server: RunningServer, prefix: str, outcome: str
) -> None:
    """Its end is told in open, half-open, open again, half-open again and closed: to no effect."""
    keys = Keys(server.client(), prefix)
    with Crew(2, Assignment(server.url, prefix, config=_RULES)) as crew:
        late, other = crew.workers
        for _ in range(6):
            assert late.ask("begin")["admitted"]

        def nothing_changes(state: str) -> None:
            assert keys.field("state") == state
            before = _lasting(keys)
            late.ask("end", outcome=outcome)
            assert _lasting(keys) == before

        other.ask("calls", outcomes="ff")
        nothing_changes("open")
        for _ in range(2):
            time.sleep(0.04)
            assert other.ask("begin")["admitted"]
            nothing_changes("half_open")
            other.ask("end", outcome="f")
            nothing_changes("open")
        time.sleep(0.04)
        other.ask("calls", outcomes="ss")
        nothing_changes("closed")


@pytest.mark.parametrize("outcome", ["s", "f", "n"])
def test_a_probe_changes_nothing_after_its_half_open_has_ended(
    server: RunningServer, prefix: str, outcome: str
) -> None:
    """A probe that outlives its half-open neither closes, opens nor prolongs what came after."""
    keys = Keys(server.client(), prefix)

    def counts() -> dict[str, Any]:
        return {**_lasting(keys), "probes": None}

    with Crew(2, Assignment(server.url, prefix, config=_RULES)) as crew:
        late, other = crew.workers
        other.ask("calls", outcomes="ff")
        for _ in range(2):
            time.sleep(0.04)
            assert late.ask("begin")["admitted"]
            assert other.ask("calls", outcomes="f") == "f"
            before = counts()
            late.ask("end", outcome=outcome)
            assert counts() == before
        time.sleep(0.04)
        assert late.ask("begin")["admitted"]
        assert other.ask("calls", outcomes="f") == "f"
        time.sleep(0.04)
        assert other.ask("begin")["admitted"]
        before = counts()
        late.ask("end", outcome=outcome)
        assert counts() == before
        assert keys.field("state") == "half_open"


def test_a_late_report_changes_nothing_after_a_reset(server: RunningServer, prefix: str) -> None:
    """A reset opens a new chapter: neither calls nor probes from before it count."""
    breaker = make_breaker(server.url, prefix, **_RULES)
    keys = Keys(server.client(), prefix)
    early = breaker.protect()
    early.__enter__()
    for _ in range(2):
        fail_once(breaker)
    time.sleep(0.04)
    probe = breaker.protect()
    probe.__enter__()
    breaker.reset()
    before = keys.everything()
    early.__exit__(ValueError, ValueError("failed"), None)
    probe.__exit__(ValueError, ValueError("failed"), None)
    after = keys.everything()
    assert {**after, "probes": None} == {**before, "probes": None}
    assert breaker.is_closed


def test_a_report_to_a_circuit_that_was_lost_and_made_anew_is_dropped(
    server: RunningServer, prefix: str
) -> None:
    """Generations repeat after a FLUSHALL; the name of the circuit's life tells them apart."""
    client = server.client()
    bench = Bench(client, server.url, prefix, failure_threshold=1, timeout_seconds=0.0)
    bench.record("s")
    leave = bench.admit("t1")
    assert leave.epoch
    client.delete(*bench.keys.own())
    time.sleep(0.005)
    bench.record("s")
    assert bench.keys.field("epoch") != leave.epoch
    before = bench.keys.everything()
    assert bench.record("f", leave).verdict is Verdict.STALE
    assert bench.keys.everything() == before


def test_every_transition_has_the_next_generation(server: RunningServer, prefix: str) -> None:
    """Replies and hash tell the same generation, one more with each transition."""
    clock = Clock()
    bench = Bench(
        server.client(),
        server.url,
        prefix,
        clock,
        failure_threshold=1,
        timeout_seconds=1.0,
        success_threshold=1,
        reset_timeout=0.0,
    )
    closed = bench.record("s")
    for round_ in range(3):
        opened = bench.record("f", closed)
        assert opened.generation == 3 * round_ + 1
        clock.advance(1000)
        probe = bench.admit(f"t{round_}")
        assert probe.generation == 3 * round_ + 2
        closed = bench.settle(Outcome.SUCCESS, probe, f"t{round_}")
        assert closed.generation == 3 * round_ + 3 == int(bench.keys.field("generation"))
