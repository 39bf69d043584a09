"""A store of one process's own, where the machine alone does not tell."""

from __future__ import annotations

import pytest

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    CountRejections,
    Extend,
    Forget,
    Look,
    Outcome,
    Promote,
    Record,
    Reset,
    Run,
    Settle,
)
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView, Verdict
from bb5_breaker._store.private_store import PrivateStore
from bb5_breaker.state import CircuitState

CIRCUIT = Circuit.of("svc", CircuitBreakerConfig(failure_threshold=1, timeout_seconds=1.0))


@pytest.fixture
def store() -> PrivateStore:
    """A store whose clock stands."""
    return PrivateStore(clock=lambda: 1_000)


def view_of(store: PrivateStore, command: Command) -> CircuitView:
    """Return the reply of a command."""
    view = store.run(command)
    assert isinstance(view, CircuitView)
    return view


@pytest.mark.parametrize(
    ("command", "verdict"),
    [
        (Look(CIRCUIT), Verdict.SEEN),
        (CountRejections(CIRCUIT, "", 3), Verdict.STALE),
        (Promote(CIRCUIT), Verdict.UNCHANGED),
        (Reset(CIRCUIT), Verdict.UNCHANGED),
        (Clear(CIRCUIT), Verdict.UNCHANGED),
        (Forget(CIRCUIT), Verdict.UNCHANGED),
        (Extend(CIRCUIT, "", "token"), Verdict.LOST),
        (Settle(CIRCUIT, 0, "", "token", Outcome.SUCCESS, ""), Verdict.STALE),
    ],
    ids=lambda value: type(value).__name__.lower() if not isinstance(value, Verdict) else "",
)
def test_only_a_call_makes_a_circuit(
    store: PrivateStore, command: Command, verdict: Verdict
) -> None:
    """All else shows one that is not there as closed and without a life, and leaves it so."""
    view = view_of(store, command)
    assert (view.verdict, view.state, view.epoch) == (verdict, CircuitState.CLOSED, "")
    assert store.list_services() == []


def test_a_look_and_rejections_show_an_open_circuit(store: PrivateStore) -> None:
    """Both tell the end of the open period."""
    opened = view_of(store, Record(CIRCUIT, 0, "", (Run(Outcome.FAILURE, 1),), "Boom"))
    for command, verdict in (
        (Look(CIRCUIT), Verdict.SEEN),
        (CountRejections(CIRCUIT, opened.epoch, 3), Verdict.COUNTED),
    ):
        view = view_of(store, command)
        assert (view.verdict, view.state) == (verdict, CircuitState.OPEN)
        assert (view.until_ms, view.epoch, view.last_error) == (2_000, opened.epoch, "Boom")


def test_a_report_from_before_a_circuit_was_forgotten_is_not_of_the_next_one(
    store: PrivateStore,
) -> None:
    """A new circuit of the same name has a life of its own."""
    success = (Run(Outcome.SUCCESS, 1),)
    before = view_of(store, Record(CIRCUIT, 0, "", success, ""))
    store.run(Forget(CIRCUIT))
    after = view_of(store, Record(CIRCUIT, 0, "", success, ""))
    assert after.epoch != before.epoch
    late = view_of(store, Record(CIRCUIT, 0, before.epoch, (Run(Outcome.FAILURE, 1),), "Boom"))
    assert (late.verdict, late.state) == (Verdict.STALE, CircuitState.CLOSED)


def test_a_place_that_was_taken_back_stays_so_where_the_clock_is_set_back() -> None:
    """Also when it was a rejected call of the next open period that found it overdue."""
    now_ms = [1_000]
    store = PrivateStore(clock=lambda: now_ms[0])
    config = CircuitBreakerConfig(
        failure_threshold=1, timeout_seconds=1.0, half_open_max_calls=2, probe_lease=0.5
    )
    circuit = Circuit.of("svc", config)
    view_of(store, Record(circuit, 0, "", (Run(Outcome.FAILURE, 1),), "Boom"))
    now_ms[0] += 1_000
    for token in ("a", "b"):
        leave = view_of(store, Admit(circuit, token))
    view_of(store, Settle(circuit, leave.generation, leave.epoch, "a", Outcome.FAILURE, "Boom"))
    now_ms[0] += 500
    assert view_of(store, Admit(circuit, "c")).verdict is Verdict.REJECT
    now_ms[0] -= 1
    assert view_of(store, Extend(circuit, leave.epoch, "b")).verdict is Verdict.LOST
