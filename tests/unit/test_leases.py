"""The thread that keeps the places of running probes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest

from bb5_breaker import CircuitBreakerConfig, CircuitState
from bb5_breaker._core.commands import Admit, Outcome, Promote, Record, Run, Snapshot
from bb5_breaker._core.flows import Permit
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Verdict
from bb5_breaker._shell.leases import LeaseKeeper
from bb5_breaker._shell.link import Link
from bb5_breaker._store.private_store import PrivateStore

LEASE = 0.1
PLENTY = 10.0


@pytest.fixture
def link() -> Link:
    """A link to circuits of this process."""
    return Link(PrivateStore())


def open_probe(link: Link, lease: float = LEASE) -> tuple[Circuit, Permit]:
    """Bring a circuit to half-open and take its only place."""
    circuit = Circuit.of(
        "svc", CircuitBreakerConfig(failure_threshold=1, timeout_seconds=0.0, probe_lease=lease)
    )
    admitted = link.view(Admit(circuit, "a"))
    link.run(Record(circuit, admitted.generation, admitted.epoch, (Run(Outcome.FAILURE, 1),), "E"))
    link.run(Promote(circuit))
    probe = link.view(Admit(circuit, "b"))
    assert probe.verdict is Verdict.PROBE
    return circuit, Permit(CircuitState.HALF_OPEN, probe.generation, probe.epoch, "b")


def probes(link: Link, circuit: Circuit) -> int:
    """Return how many leases live now."""
    snapshot = link.run(Snapshot(circuit))
    assert isinstance(snapshot, CircuitSnapshot)
    return snapshot.active_probes


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, and fail when it does not come about."""
    deadline = time.monotonic() + PLENTY
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def test_a_place_is_kept_while_the_call_runs(link: Link) -> None:
    """A probe that outlasts its lease several times still holds its place."""
    circuit, permit = open_probe(link)
    keeper = LeaseKeeper()
    keeper.hold(link, circuit, permit, longest=PLENTY)
    ends = time.monotonic() + 5 * LEASE
    while time.monotonic() < ends:
        view = link.run(Admit(circuit, "c"))
        assert isinstance(view, CircuitView)
        assert view.verdict is Verdict.REJECT
        time.sleep(0.005)
    keeper.drop(permit)
    wait_until(lambda: probes(link, circuit) == 0)


def test_a_place_is_not_kept_for_ever(link: Link) -> None:
    """A probe that hangs loses its place when it ran for the longest time allowed."""
    circuit, permit = open_probe(link)
    LeaseKeeper().hold(link, circuit, permit, longest=2 * LEASE)
    wait_until(lambda: probes(link, circuit) == 0)
    assert permit.token is not None


def test_a_lost_permit_is_not_kept(link: Link) -> None:
    """A permit that nobody holds any more will not be settled: its lease runs out."""
    circuit, permit = open_probe(link)
    LeaseKeeper().hold(link, circuit, permit, longest=PLENTY)
    del permit
    gc.collect()
    wait_until(lambda: probes(link, circuit) == 0)


def test_an_ordinary_permit_needs_no_thread(link: Link) -> None:
    """Only probes hold places; other calls start nothing."""
    circuit, _ = open_probe(link)
    keeper = LeaseKeeper()
    ordinary = Permit(CircuitState.CLOSED, 0, "", None)
    keeper.hold(link, circuit, ordinary, longest=PLENTY)
    keeper.drop(ordinary)
    assert not keeper._thread.is_running
