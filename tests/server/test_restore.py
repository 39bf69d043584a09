"""A store that lost its memory is given back what the fleet knows."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitState, configure
from bb5_breaker._core.commands import Forget, Outcome, Restore, Snapshot
from bb5_breaker._core.replies import CircuitView, Verdict
from tests.server.cached import await_trust
from tests.support.buses import wait_until
from tests.support.servers import RunningServer
from tests.support.workers_circuit import Bench, Clock, Keys, fail_once, snapshot_of

_OPEN, _HALF_OPEN, _CLOSED = CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED


@pytest.fixture
def clock() -> Clock:
    """A time that stands."""
    return Clock()


@pytest.fixture
def bench(server: RunningServer, prefix: str, clock: Clock) -> Bench:
    """The scripts, on that time."""
    return Bench(
        server.client(), server.url, prefix, clock, failure_threshold=2, half_open_max_calls=3
    )


def restore(bench: Bench, **changes: Any) -> CircuitView:
    """Give the circuit back as open with generation 5; a second was left."""
    known = Restore(bench.circuit, 5, "life@1", _OPEN, 1000, 0, 2, "Boom")
    reply = bench.store.run(replace(known, **changes))
    assert isinstance(reply, CircuitView)
    return reply


def test_an_emptied_store_takes_an_open_circuit_once(bench: Bench, clock: Clock) -> None:
    """State, life, generation and failures are as they were; one event says so."""
    told = restore(bench)
    assert (told.verdict, told.state, told.generation) == (Verdict.RESTORED, _OPEN, 5)
    assert (told.epoch, told.failures, told.last_error) == ("life@1", 2, "Boom")
    assert (told.until_ms, told.moved_from) == (clock.now_ms + 1000, _CLOSED)
    before = bench.keys.everything()
    assert restore(bench).verdict is Verdict.UNCHANGED
    assert restore(bench, generation=4).verdict is Verdict.UNCHANGED
    assert bench.keys.everything() == before
    assert bench.keys.transitions() == [("open", 5)]
    assert bench.keys.field("reason") == "restored"
    assert bench.keys.without_expiry() == []
    assert bench.admit().verdict is Verdict.REJECT
    clock.advance(1000)
    assert bench.admit().verdict is Verdict.PROBE


def test_a_half_open_circuit_comes_back_with_its_places(bench: Bench) -> None:
    """No more probes are let through than before, and they close it."""
    assert restore(bench, state=_HALF_OPEN).state is _HALF_OPEN
    leaves = [bench.admit(f"t{number}") for number in range(5)]
    assert [leave.verdict for leave in leaves].count(Verdict.PROBE) == 3
    for number in range(2):
        bench.settle(Outcome.SUCCESS, leaves[number], f"t{number}")
    assert bench.keys.field("state") == "closed"
    assert bench.keys.transitions() == [("half_open", 5), ("closed", 6)]


@pytest.mark.parametrize("state", [_OPEN, _HALF_OPEN, _CLOSED])
def test_a_store_that_fell_behind_is_brought_forward(bench: Bench, state: CircuitState) -> None:
    """After a failover the same life may be some generations back."""
    bench.record("sff")
    epoch = bench.keys.field("epoch")
    told = restore(bench, state=state, epoch=epoch)
    assert (told.verdict, told.state, told.generation) == (Verdict.RESTORED, state, 5)
    figures = snapshot_of(bench.store.run(Snapshot(bench.circuit)))
    assert (figures.total_successes, figures.total_failures) == (1, 2)


def test_a_circuit_that_began_anew_closed_gives_way(bench: Bench) -> None:
    """Calls that came to the emptied store first do not undo an open period."""
    bench.record("s")
    told = restore(bench)
    assert (told.verdict, told.state, told.epoch) == (Verdict.RESTORED, _OPEN, "life@1")


def test_what_the_store_knows_itself_stays(bench: Bench) -> None:
    """Neither a later generation nor another life that guards itself is overwritten."""
    bench.record("ff")
    before = bench.keys.everything()
    assert restore(bench).verdict is Verdict.UNCHANGED
    assert restore(bench, state=_CLOSED).verdict is Verdict.UNCHANGED
    epoch = bench.keys.field("epoch")
    assert restore(bench, epoch=epoch, generation=1).verdict is Verdict.UNCHANGED
    assert bench.keys.everything() == before


def test_a_closed_circuit_is_not_given_to_an_emptied_store(bench: Bench) -> None:
    """There is nothing to protect."""
    assert restore(bench, state=_CLOSED).verdict is Verdict.UNCHANGED
    assert bench.keys.own() == []


def test_a_forgotten_circuit_stays_forgotten(bench: Bench, clock: Clock) -> None:
    """Who knew it before does not bring it back; what is learnt later comes back."""
    bench.record("ff")
    clock.advance(500)
    bench.store.run(Forget(bench.circuit))
    assert bench.keys.without_expiry() == []
    clock.advance(500)
    assert restore(bench, known_ms=500).verdict is Verdict.UNCHANGED
    assert restore(bench, known_ms=499).verdict is Verdict.RESTORED


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (5, "0", "generation"),
        (5, "253402300799999", "generation"),
        (6, "", "epoch"),
        (7, "ajar", "state"),
        (8, "-1", "remaining_ms"),
        (8, "604800001", "remaining_ms"),
        (9, "x", "known_ms"),
        (10, "1.5", "failures"),
    ],
)
def test_bad_arguments_change_nothing(bench: Bench, place: int, value: str, named: str) -> None:
    """Each is refused by its name before anything is written."""
    script = bench.store._codec.encode(
        Restore(bench.circuit, 5, "life@1", _OPEN, 1000, 0, 2, "Boom"), bench.store._senders.take()
    ).script
    keys = bench.store._codec.keys_of(bench.circuit)
    policy = "10,2,60000,1000,2,3,0,10000,256,60000,msgpack,p"
    words = [
        "", "svc", "me", policy, "5", "life@1", "open", "1000", "0", "2", "Boom"
    ]  # fmt: skip
    words[place - 1] = value
    with pytest.raises(Exception, match=named):
        bench.client.eval(script.source, 6, *keys.all, keys.forgotten, *words)
    assert bench.keys.own() == []


class TestAFleet:
    """Breakers with connections and views of their own, as in processes of their own."""

    RULES = CircuitBreakerConfig(
        failure_threshold=1, timeout_seconds=60.0, call_timeout=None, half_open_max_calls=1
    )

    @pytest.fixture(autouse=True)
    def _settings(self, own_server: RunningServer, prefix: str, both_modes: str) -> None:
        configure(
            own_server.url,
            prefix=prefix,
            consistency=both_modes,
            store_timeout=5.0,
            store_retry_interval=0.05,
        )

    @pytest.fixture
    def crew(self, own_server: RunningServer) -> list[CircuitBreaker]:
        """Three breakers, of which the first has opened the circuit and two know of it."""
        made = [CircuitBreaker("svc", self.RULES, redis=own_server.client()) for _ in range(3)]
        fail_once(made[0])
        assert made[1].call_result(int).was_rejected
        return made

    def test_a_flush_lets_no_call_through(
        self, crew: list[CircuitBreaker], own_server: RunningServer, prefix: str
    ) -> None:
        """Whoever knew gives the circuit back, so that who did not know is rejected as well."""
        own_server.client().flushall()
        assert all(breaker.call_result(int).was_rejected for breaker in crew[:2])
        keys = Keys(own_server.client(), prefix)
        wait_until(lambda: keys.field("state") == "open")
        assert crew[2].call_result(int).was_rejected
        assert keys.transitions() == [("open", 1)]

    def test_a_restart_without_memory_is_healed_without_a_call(
        self, crew: list[CircuitBreaker], own_server: RunningServer, prefix: str, both_modes: str
    ) -> None:
        """The connection over which transitions are heard comes back, and the store is told."""
        own_server.kill()
        own_server.restart()
        if both_modes == "strict":
            # Such a process hears nothing: it takes a call, or the end of the period.
            assert crew[1].call_result(int).was_rejected
        keys = Keys(own_server.client(), prefix)
        wait_until(lambda: keys.field("state") == "open")
        assert keys.transitions() == [("open", 1)]

    def test_calls_meet_a_restart_without_memory(
        self,
        crew: list[CircuitBreaker],
        own_server: RunningServer,
        prefix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """No call of those who knew runs, before, while and after the server is away."""
        caplog.set_level(logging.WARNING, "bb5_breaker")
        own_server.kill()
        for _ in range(20):
            assert all(breaker.call_result(int).was_rejected for breaker in crew[:2])
        own_server.restart()
        keys, ends = Keys(own_server.client(), prefix), time.monotonic() + 10
        while keys.field("state") != "open":
            assert all(breaker.call_result(int).was_rejected for breaker in crew[:2])
            assert time.monotonic() < ends
        assert crew[2].call_result(int).was_rejected
        assert keys.transitions() == [("open", 1)]
        assert caplog.text.count("had lost 'svc'") == 1

    def test_the_hash_deleted_by_hand_comes_back(
        self, crew: list[CircuitBreaker], own_server: RunningServer, prefix: str
    ) -> None:
        """Only what forget() deletes is meant to be gone."""
        keys = Keys(own_server.client(), prefix)
        own_server.client().delete(keys.circuit)
        assert crew[0].call_result(int).was_rejected
        wait_until(lambda: keys.field("state") == "open")
        crew[0].forget()
        wait_until(lambda: crew[1].call_result(int).success)
        wait_until(lambda: keys.field("state") == "closed")

    def test_a_reset_reaches_a_store_that_lost_the_circuit(
        self, crew: list[CircuitBreaker], own_server: RunningServer, prefix: str
    ) -> None:
        """The order is carried out on what the fleet knows, so nobody brings the old state back."""
        own_server.client().flushall()
        crew[1].reset()
        assert Keys(own_server.client(), prefix).transitions() == [("open", 1), ("closed", 2)]
        wait_until(lambda: all(breaker.call_result(int).success for breaker in crew))


def test_an_opening_that_is_only_heard_is_confirmed_without_a_call(
    own_server: RunningServer, prefix: str
) -> None:
    """Within about a second: from then on this process can give the circuit back."""
    configure(own_server.url, prefix=prefix, store_timeout=5.0)
    rules = TestAFleet.RULES
    trips, hears = (CircuitBreaker("svc", rules, redis=own_server.client()) for _ in range(2))
    await_trust(hears, own_server.client())
    fail_once(trips)
    remembered = hears._link().board.remembered
    wait_until(lambda: (said := remembered.get_said("svc")) is not None and not said.is_closed)
    assert hears.get_stats()["rejection_count"] == 0
