"""A store of one process's own, where the machine alone does not tell."""

from __future__ import annotations

import pytest

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.commands import Command, CountRejections, Look, Outcome, Record, Run
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
    [(Look(CIRCUIT), Verdict.SEEN), (CountRejections(CIRCUIT, "", 3), Verdict.STALE)],
    ids=["look", "count_rejections"],
)
def test_neither_a_look_nor_rejections_make_a_circuit(
    store: PrivateStore, command: Command, verdict: Verdict
) -> None:
    """Of a circuit that is not there they show a closed one without a life, and leave it so."""
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
