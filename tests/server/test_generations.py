"""What was admitted before a transition changes nothing after it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from bb5_breaker._core.commands import Forget, Look, Outcome
from bb5_breaker._core.replies import CircuitView, Verdict
from bb5_breaker.exceptions import StoreDataError
from bb5_breaker.state import CircuitState
from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import (
    Bench,
    Clock,
    Keys,
    fail_once,
    make_breaker,
)

_RULES: dict[str, Any] = {
    "failure_threshold": 2,
    "timeout_seconds": 0.03,
    "reset_timeout": 0.0,
    "success_threshold": 2,
    "half_open_max_calls": 2,
}


def _lasting(keys: Keys) -> dict[str, Any]:
    """All that is stored but the cooldown: a real timer, which may end at any moment."""
    return {**keys.everything(), "cooldown": None}


def _was_promoted(found: dict[str, Any], state: str) -> bool:
    """Return True when a process ended an open period meanwhile, as any may at any moment."""
    circuit = found["circuit"]
    return state == "open" and circuit[b"reason"] == b"timeout_elapsed"


def _assert_same(after: dict[str, Any], before: dict[str, Any]) -> None:
    if after != before and _was_promoted(after, before["circuit"][b"state"].decode()):
        counts = (b"failures", b"total_failures", b"total_successes", b"window_failures")
        for field in counts:
            assert after["circuit"].get(field) == before["circuit"].get(field)
        assert after["window"] == before["window"]
        assert after["events"][:-1] == before["events"]
        return
    assert after == before


@pytest.mark.parametrize("outcome", ["s", "f", "n"])
@pytest.mark.usefixtures("both_modes")
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
            before = _lasting(keys)
            assert before["circuit"][b"state"].decode() == state or _was_promoted(before, state)
            late.ask("end", outcome=outcome)
            _assert_same(_lasting(keys), before)

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
@pytest.mark.usefixtures("both_modes")
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
            _assert_same(counts(), before)
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


@pytest.fixture
def clock() -> Clock:
    """The clock of `bench`."""
    return Clock()


@pytest.fixture
def bench(server: RunningServer, prefix: str, clock: Clock) -> Bench:
    """A circuit that trips at the second failure, for a minute, and closes at one success."""
    rules = {**_RULES, "timeout_seconds": 60.0, "success_threshold": 1}
    return Bench(server.client(), server.url, prefix, clock, **rules)


def _look(bench: Bench) -> CircuitView:
    """Look at the circuit; that must not change anything, not even what senders left."""
    before = (bench.keys.own(), bench.keys.everything())
    view = bench.store.run(Look(bench.circuit))
    assert isinstance(view, CircuitView)
    assert view.verdict is Verdict.SEEN
    assert (bench.keys.own(), bench.keys.everything()) == before
    return view


def test_a_look_shows_every_state_and_changes_nothing(bench: Bench, clock: Clock) -> None:
    """Also an open period that is over stays as it is, until somebody calls."""

    def seen() -> tuple[Any, ...]:
        view = _look(bench)
        assert view.epoch == bench.keys.field("epoch")
        return view.state, view.generation, view.until_ms, view.failures, view.last_error

    assert seen() == (CircuitState.CLOSED, 0, 0, 0, "")
    bench.record("s")
    assert seen() == (CircuitState.CLOSED, 0, 0, 0, "")
    bench.record("ff")
    until_ms = clock() + 60_000
    for _ in range(2):
        assert seen() == (CircuitState.OPEN, 1, until_ms, 2, "ServiceFailed")
        clock.advance(60_000)
    probe = bench.admit()
    assert seen() == (CircuitState.HALF_OPEN, 2, 0, 2, "ServiceFailed")
    bench.settle(Outcome.SUCCESS, probe)
    assert seen() == (CircuitState.CLOSED, 3, 0, 0, "")


@pytest.mark.parametrize(
    ("field", "value"), [("state", "ajar"), ("generation", "many"), ("generation", "-1")]
)
def test_a_look_at_a_damaged_circuit_names_the_field(bench: Bench, field: str, value: str) -> None:
    """What is needed to understand the state is checked."""
    bench.record("s")
    bench.client.hset(bench.keys.circuit, field, value)
    with pytest.raises(StoreDataError, match=f'field "{field}"'):
        bench.store.run(Look(bench.circuit))


class _Listener:
    """Hears what is published on a few channels."""

    def __init__(self, client: redis.Redis, *channels: str) -> None:
        self._client = client
        self._end = f"end of {channels[0]}"
        self._ear = client.pubsub(ignore_subscribe_messages=True)
        self._ear.subscribe(self._end, *channels)
        while self._ear.subscribed and len(self._ear.channels) <= len(channels):
            self._ear.get_message(timeout=5.0)

    def heard(self) -> list[tuple[str, bytes]]:
        """Return channels and messages so far, and listen no longer."""
        self._client.publish(self._end, "")
        found = []
        for message in self._ear.listen():
            channel = message["channel"].decode()
            if channel == self._end:
                break
            found.append((channel, message["data"]))
        self._ear.close()
        return found


def test_who_holds_a_view_hears_of_a_reset_without_a_transition(bench: Bench, prefix: str) -> None:
    """Resetting a closed circuit ends its life unseen: one channel a prefix tells its name."""
    bench.record("s")
    listener = _Listener(bench.client, f"{prefix}:views", f"{prefix}.svc")
    bench.reset()
    assert listener.heard() == [(f"{prefix}:views", b"svc")]


def test_who_holds_a_view_hears_that_the_circuit_was_deleted(bench: Bench, prefix: str) -> None:
    """Once: what is not there can not be deleted."""
    bench.record("ff")
    listener = _Listener(bench.client, f"{prefix}:views", f"{prefix}.svc")
    for _ in range(2):
        bench.store.run(Forget(bench.circuit))
    assert listener.heard() == [(f"{prefix}:views", b"svc")]


def test_transitions_are_told_by_their_events_alone(
    bench: Bench, prefix: str, clock: Clock
) -> None:
    """Opened, half-open, closed, opened and reset: five events and no notice beside them."""
    listener = _Listener(bench.client, f"{prefix}:views", f"{prefix}.svc")
    bench.record("ff")
    clock.advance(60_000)
    closed = bench.settle(Outcome.SUCCESS, bench.admit())
    bench.record("ff", closed)
    bench.reset()
    assert [channel for channel, _ in listener.heard()] == [f"{prefix}.svc"] * 5


@pytest.mark.parametrize("rights", [["resetchannels"], ["-publish"]], ids=["channel", "command"])
def test_who_may_not_send_the_notice_resets_and_deletes_all_the_same(
    server: RunningServer, prefix: str, rights: list[str]
) -> None:
    """The notice saves others time; it is no condition of the change."""
    client = server.client()
    user = f"user-{prefix}"
    client.execute_command(
        "ACL", "SETUSER", user, "reset", "on", ">secret", "~*", "&*", "+@all", *rights
    )
    try:
        bench = Bench(client, server.admin_url.replace("://", f"://{user}:secret@", 1), prefix)
        listener = _Listener(client, f"{prefix}:views")
        before = bench.record("f").epoch
        assert bench.reset().verdict is Verdict.RESET
        assert bench.keys.field("failures") == "0"
        assert bench.keys.field("epoch") != before
        forgotten = bench.store.run(Forget(bench.circuit))
        assert isinstance(forgotten, CircuitView)
        assert forgotten.verdict is Verdict.FORGOTTEN
        assert listener.heard() == []
    finally:
        client.execute_command("ACL", "DELUSER", user)
