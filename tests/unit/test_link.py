"""What stands in for a store that does not answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from bb5_breaker import CircuitBreakerConfig, CircuitState, StoreError
from bb5_breaker._core.commands import (
    Admit,
    Command,
    Extend,
    Outcome,
    Record,
    Reset,
    Run,
    Settle,
    Snapshot,
)
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot, Reply, Verdict
from bb5_breaker._shell.link import Link
from bb5_breaker._shell.pace import Pace
from bb5_breaker._store.private_store import PrivateStore
from bb5_breaker._store.senders import Sender
from bb5_breaker.exceptions import StoreDataError, StoreRefusedError, StoreUnavailableError
from tests.support.buses import wait_until

CIRCUIT = Circuit.of("svc", CircuitBreakerConfig(failure_threshold=2, timeout_seconds=60.0))
OTHER = Circuit.of("other", CircuitBreakerConfig())


class Switched(PrivateStore):
    """A shared store that can be switched off, by an error to raise."""

    shared = True
    address = "redis://test:1"

    def __init__(self) -> None:
        super().__init__()
        self.fault: StoreError | None = None
        self.asked = 0

    def run(self, command: Command) -> Reply:
        """Carry out a command, or fail."""
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return super().run(command)

    def run_many(
        self,
        commands: Sequence[Command],
        sender: Sender | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[Reply | StoreError]:
        """Carry out commands, or fail."""
        return [self.run(command) for command in commands]


def fail_twice(link: Link) -> None:
    """Let two calls be admitted and fail, which opens the circuit."""
    for _ in range(2):
        admitted = link.view(Admit(CIRCUIT, "t"))
        failure = (Run(Outcome.FAILURE, 1),)
        link.run(Record(CIRCUIT, admitted.generation, admitted.epoch, failure, "E"))


@pytest.fixture
def store() -> Switched:
    """A store to switch off."""
    return Switched()


@pytest.fixture
def now() -> list[float]:
    """The time that the link sees."""
    return [0.0]


@pytest.fixture
def link(store: Switched, now: list[float]) -> Link:
    """A link to that store, on that time."""
    return Link(store, Pace(retry_interval=1.0), clock=lambda: now[0])


def test_a_frozen_store_is_asked_once_an_interval(
    link: Link, store: Switched, now: list[float]
) -> None:
    """A call pays for the first time-out, a thread of its own for those to follow."""
    store.fault = StoreUnavailableError("gone")
    for _ in range(100):
        assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.ALLOW
    assert store.asked == 1
    now[0] += 100.0
    for _ in range(100):
        link.view(Admit(CIRCUIT, "t"))
    assert store.asked == 1
    link._knock("", CIRCUIT)
    assert (store.asked, link.failing) == (2, store.fault)
    store.fault = None
    link._knock("", CIRCUIT)
    assert link.failing is None


def test_a_thread_finds_out_that_the_store_is_back(store: Switched) -> None:
    """Without any call, within the interval."""
    link = Link(store, Pace(retry_interval=0.02))
    store.fault = StoreUnavailableError("gone")
    link.view(Admit(CIRCUIT, "t"))
    wait_until(lambda: store.asked >= 4)
    store.fault = None
    wait_until(lambda: link.failing is None)


def test_a_store_that_refuses_is_asked_once_an_interval(
    link: Link, store: Switched, now: list[float]
) -> None:
    """Its answer costs no time-out, and only the same command tells whether it takes it now."""
    store.fault = StoreRefusedError("out of memory")
    for _ in range(100):
        assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.ALLOW
    assert store.asked == 1
    now[0] += 1.3
    for _ in range(100):
        link.view(Admit(CIRCUIT, "t"))
    assert store.asked == 2


def test_a_store_that_refused_and_falls_silent_costs_calls_one_timeout(
    link: Link, store: Switched, now: list[float]
) -> None:
    """From then on a thread tries it."""
    store.fault = StoreRefusedError("out of memory")
    link.view(Admit(CIRCUIT, "t"))
    store.fault = StoreUnavailableError("gone")
    for _ in range(5):
        now[0] += 1.3
        link.view(Admit(CIRCUIT, "t"))
    assert store.asked == 2


def test_each_change_is_logged_once(
    link: Link, store: Switched, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """Going down and coming back are one line each, not one a call."""
    caplog.set_level(logging.WARNING, "bb5_breaker")
    store.fault = StoreUnavailableError("Redis at redis://test:1 can not be reached: gone")
    for _ in range(10):
        link.view(Admit(CIRCUIT, "t"))
        link._knock("", CIRCUIT)
        now[0] += 2
    store.fault = None
    link._knock("", CIRCUIT)
    link.view(Admit(CIRCUIT, "t"))
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "can not be reached" in caplog.text
    assert "answers again" in caplog.text


def test_the_stand_in_trips_by_the_same_rules(link: Link, store: Switched) -> None:
    """Failures admitted by the store and reported to the stand-in open the circuit here."""
    admitted = link.view(Admit(CIRCUIT, "t"))
    store.fault = StoreUnavailableError("gone")
    for _ in range(2):
        failure = (Run(Outcome.FAILURE, 1),)
        link.run(Record(CIRCUIT, admitted.generation, admitted.epoch, failure, "E"))
    rejected = link.view(Admit(CIRCUIT, "t"))
    assert rejected.verdict is Verdict.REJECT
    assert rejected.state is CircuitState.OPEN


def test_open_stays_open_until_its_deadline(link: Link, store: Switched, now: list[float]) -> None:
    """A circuit last seen open goes on rejecting here when the store goes away, to its end."""
    admitted = link.view(Admit(CIRCUIT, "t"))
    link.run(Record(CIRCUIT, admitted.generation, admitted.epoch, (Run(Outcome.FAILURE, 2),), "E"))
    store.fault = StoreUnavailableError("gone")
    now[0] += 20
    rejected = link.view(Admit(CIRCUIT, "t"))
    assert rejected.verdict is Verdict.REJECT
    assert (rejected.failures, rejected.last_error) == (2, "E")
    assert 40_000 <= rejected.until_ms - rejected.now_ms <= 40_002


def test_what_was_counted_here_is_told_when_the_store_is_back(link: Link, store: Switched) -> None:
    """The fleet's circuit opens by it, before a call is let through that would not be here."""
    store.fault = StoreUnavailableError("gone")
    fail_twice(link)
    assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.REJECT
    store.fault = None
    link._knock("", CIRCUIT)
    assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.REJECT
    figures = store.run(Snapshot(CIRCUIT))
    assert isinstance(figures, CircuitSnapshot)
    assert (figures.state, figures.total_failures) == (CircuitState.OPEN, 2)


def test_a_report_is_owed_that_was_not_sent_as_another_failed_before_it(
    link: Link, store: Switched
) -> None:
    """What is owed goes first; of what comes after it everybody knows that it did not arrive."""
    store.fault = StoreUnavailableError("gone")
    link.view(Admit(CIRCUIT, "t"))
    link.run(Record(CIRCUIT, 0, "", (Run(Outcome.FAILURE, 1),), "E"))
    link.trouble.end("")
    link.run(Record(CIRCUIT, 0, "", (Run(Outcome.SUCCESS, 1),), ""))
    (owed,) = link._owed.take("svc", 0.0)
    # The first one perhaps arrived: a store on a server keeps it to send it again.
    assert owed.runs == (Run(Outcome.SUCCESS, 1),)


def test_the_next_outage_begins_anew(link: Link, store: Switched) -> None:
    """What the stand-in decided in one outage is not carried into the next."""
    store.fault = StoreUnavailableError("gone")
    fail_twice(link)
    assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.REJECT
    store.fault = None
    link._knock("", CIRCUIT)
    link.order(Reset(CIRCUIT))
    assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.ALLOW
    store.fault = StoreUnavailableError("gone again")
    assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.ALLOW


def test_a_call_admitted_here_is_settled_here(link: Link, store: Switched) -> None:
    """A report of a call that the stand-in admitted does not reach the store that is back."""
    store.fault = StoreUnavailableError("gone")
    admitted = link.view(Admit(CIRCUIT, "t"))
    store.fault = None
    asked = store.asked
    link.run(Record(CIRCUIT, admitted.generation, admitted.epoch, (Run(Outcome.FAILURE, 1),), "E"))
    assert store.asked == asked
    assert link.read(Snapshot(CIRCUIT)).total_failures == 0


def test_a_damaged_circuit_does_not_take_the_store_down(
    link: Link, store: Switched, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """Foreign data under one circuit's keys concerns that circuit only, and is named once.

    It is guarded here, also where only its reports are refused, and tried once an interval.
    """
    store.fault = StoreDataError("key x holds a list")
    for _ in range(5):
        assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.ALLOW
    assert store.asked == 1
    for _ in range(5):
        failure = (Run(Outcome.FAILURE, 1),)
        link.run(Record(CIRCUIT, 0, "", failure, "E"))
    assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.REJECT
    now[0] += 1.3
    link.view(Admit(CIRCUIT, "t"))
    assert store.asked == 2
    store.fault = None
    assert link.view(Admit(OTHER, "t")).verdict is Verdict.ALLOW
    now[0] += 1.3
    assert link.view(Admit(CIRCUIT, "t")).verdict is Verdict.REJECT
    figures = store.run(Snapshot(CIRCUIT))
    assert isinstance(figures, CircuitSnapshot)
    assert (figures.state, figures.total_failures) == (CircuitState.OPEN, 2)
    assert link.failing is None
    assert len(caplog.records) == 1


def test_reads_and_orders_raise(link: Link, store: Switched) -> None:
    """What a person asks for is not answered from a stand-in."""
    store.fault = StoreUnavailableError("gone")
    with pytest.raises(StoreUnavailableError, match="gone"):
        link.read(Snapshot(CIRCUIT))
    with pytest.raises(StoreUnavailableError, match="gone"):
        link.order(Settle(CIRCUIT, 0, "", "t", Outcome.NEUTRAL, ""))


def test_a_lease_outlives_a_failed_renewal(link: Link, store: Switched) -> None:
    """A renewal that does not get through is tried again; only the store's word loses a place."""
    command = Extend(CIRCUIT, "somewhere", "t")
    store.fault = StoreUnavailableError("gone")
    assert link.renew(command)
    store.fault = None
    assert not link.renew(command)


def test_a_private_store_is_its_own_stand_in() -> None:
    """Without a shared store all commands meet in one place."""
    link = Link(PrivateStore())
    fail_twice(link)
    assert link.read(Snapshot(CIRCUIT)).state is CircuitState.OPEN
