"""Circuits that nobody calls: what is due when, and what is done about it in one process."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitState, StoreError
from bb5_breaker._core.commands import Command, Outcome, Promote, Record, Reset, Run
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView, Reply, Verdict
from bb5_breaker._shell.agenda import PROMOTION_JITTER, Agenda, Plan
from bb5_breaker._shell.announcing import Announcer
from bb5_breaker._shell.health_threads import HealthThreads
from bb5_breaker._shell.link import Link
from bb5_breaker._shell.pace import Pace
from bb5_breaker._shell.stakes import Stake, Stakes
from bb5_breaker._shell.waiting import wait_for_close
from bb5_breaker._store.background import Background
from bb5_breaker._store.private_store import PrivateStore
from bb5_breaker.exceptions import StoreUnavailableError

OPEN, HALF_OPEN, CLOSED = CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED


def told(
    state: CircuitState, generation: int, epoch: str = "e", moved_from: CircuitState | None = None
) -> CircuitView:
    """Return a store's words on a circuit."""
    return CircuitView(
        Verdict.SEEN, state, generation, epoch, 0, 0, 0, "", 0, moved_from, renewed=False
    )


def most(least: float, most: float) -> float:
    """Draw the greatest number there is."""
    return most


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition, and fail when it does not come about."""
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)


class Diary:
    """An agenda that draws the most by chance."""

    def __init__(self) -> None:
        self.agenda = Agenda(most)

    def take(self, view: CircuitView, ends: float = 0.0, checks: bool = False) -> None:
        """Take a store's words at the time 0."""
        self.agenda.take("svc", view, ends, 0.0, checks)

    def due(self, now: float) -> list[Plan]:
        """Return what is due by then."""
        return list(self.agenda.pop_due(now))


@pytest.fixture
def diary() -> Diary:
    """An empty one."""
    return Diary()


def test_an_open_period_is_ended_a_little_after_its_end(diary: Diary) -> None:
    """Not before, within the jitter, and once."""
    diary.take(told(OPEN, 1), ends=60.0)
    assert diary.agenda.next_due() == 60.0 + PROMOTION_JITTER
    assert diary.due(60.0) == []
    (plan,) = diary.due(60.0 + PROMOTION_JITTER)
    assert (plan.service, plan.is_check) == ("svc", False)
    assert diary.agenda.next_due() is None


def test_what_another_process_did_needs_not_be_done(diary: Diary) -> None:
    """Who hears of the half-open circuit before its turn does nothing."""
    diary.take(told(OPEN, 1), ends=60.0)
    diary.take(told(HALF_OPEN, 2))
    assert diary.due(1000.0) == []


def test_a_deadline_that_moved_replaces_the_old_one(diary: Diary) -> None:
    """A circuit that was closed and opened again has one end, the new one."""
    diary.take(told(OPEN, 1), ends=60.0)
    diary.take(told(OPEN, 3), ends=90.0)
    assert diary.due(89.0) == []
    assert len(diary.due(91.0)) == 1


def test_of_two_ends_of_one_period_the_earlier_holds(diary: Diary) -> None:
    """What told of the other was under way for longer."""
    diary.take(told(OPEN, 1), ends=60.0)
    diary.take(told(OPEN, 1), ends=50.0)
    diary.take(told(OPEN, 1), ends=70.0)
    assert diary.agenda.next_due() == 50.0 + PROMOTION_JITTER


def test_old_news_does_not_undo_a_plan(diary: Diary) -> None:
    """An answer that is older than the trip, or of another life, leaves the deadline."""
    diary.take(told(OPEN, 3), ends=60.0)
    diary.take(told(HALF_OPEN, 2))
    diary.take(told(CLOSED, 0, epoch="other"))
    diary.take(told(OPEN, 1), ends=10.0)
    assert diary.agenda.next_due() == 60.0 + PROMOTION_JITTER


def test_an_open_circuit_without_an_end_is_asked_for_it_soon(diary: Diary) -> None:
    """The answer to a late report does not tell the end."""
    diary.take(told(OPEN, 1))
    assert diary.agenda.next_due() == PROMOTION_JITTER


def test_words_that_change_nothing_cost_no_message(diary: Diary) -> None:
    """A thousand rejections by the store leave the thread alone."""
    assert diary.agenda.concerns(told(OPEN, 1), "svc", 60.0)
    diary.take(told(OPEN, 1), ends=60.0)
    for ends in (60.0, 60.5, 59.9999):
        assert not diary.agenda.concerns(told(OPEN, 1), "svc", ends)
    assert diary.agenda.concerns(told(OPEN, 1), "svc", 59.5)
    assert not diary.agenda.concerns(told(CLOSED, 0), "other", 0.0)


def test_hearsay_is_followed_and_gives_way_to_knowledge(diary: Diary) -> None:
    """An expected end is planned; what a store says of it replaces it."""
    diary.agenda.expect("svc", 60.0)
    assert diary.agenda.next_due() == 60.0 + PROMOTION_JITTER
    diary.take(told(OPEN, 1), ends=90.0)
    assert diary.agenda.next_due() == 90.0 + PROMOTION_JITTER
    diary.agenda.expect("svc", 10.0)
    (plan,) = diary.due(100.0)
    assert plan.is_expected


def test_a_hint_brings_the_end_forward(diary: Diary) -> None:
    """The cooldown was seen to expire: it is looked after at once, known or not."""
    diary.take(told(OPEN, 1), ends=60.0)
    diary.agenda.hurry("svc", 5.0)
    diary.agenda.hurry("other", 6.0)
    assert [plan.service for plan in diary.due(6.0)] == ["svc", "other"]


def test_who_made_it_half_open_checks_first(diary: Diary) -> None:
    """Also where the push came before the answer; without a check there is nothing to do."""
    diary.take(told(HALF_OPEN, 2), checks=True)
    late = diary.agenda.next_due()
    diary.take(told(HALF_OPEN, 2, moved_from=OPEN), checks=True)
    soon = diary.agenda.next_due()
    assert late is not None
    assert soon is not None
    assert soon < late / 4
    (plan,) = diary.due(late)
    assert plan.is_check
    diary.take(told(HALF_OPEN, 4))
    assert diary.due(1000.0) == []


def test_a_thing_that_came_to_nothing_is_done_later_unless_there_is_news(diary: Diary) -> None:
    """A promotion that did not get through is tried again, not one that was replaced."""
    diary.take(told(OPEN, 1), ends=60.0)
    (plan,) = diary.due(61.0)
    diary.agenda.postpone(plan, 62.0)
    assert diary.agenda.next_due() == 62.0
    (plan,) = diary.due(62.0)
    diary.take(told(OPEN, 3), ends=90.0)
    diary.agenda.postpone(plan, 63.0)
    assert diary.agenda.next_due() == 90.0 + PROMOTION_JITTER


def test_the_agenda_stays_small_whatever_happens(diary: Diary) -> None:
    """Deadlines that were replaced many times do not pile up."""
    for generation in range(1, 10_001, 2):
        diary.take(told(OPEN, generation), ends=60.0 + generation)
    assert len(diary.agenda._order) < 100
    assert len(diary.due(100_000.0)) == 1


class Bus:
    """An event bus that is not Redis."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def publish(self, topic: str, event: Any) -> None:
        """Note the state."""
        self.states.append(event.data["state"])


class Switched(PrivateStore):
    """A shared store that can be switched off."""

    shared = True
    address = "redis://test:1"

    def __init__(self) -> None:
        super().__init__()
        self.fault: StoreError | None = None
        self.promotions: list[float] = []

    def run(self, command: Command) -> Reply:
        """Carry out a command, or fail."""
        if isinstance(command, Promote):
            self.promotions.append(time.monotonic())
        if self.fault is not None:
            raise self.fault
        return super().run(command)


class Scene:
    """A circuit of a store that can be switched off, and a stake in it."""

    def __init__(self, cooldown: float = 0.05) -> None:
        self.store = Switched()
        self.link = Link(self.store, Pace(retry_interval=0.05))
        self.circuit = Circuit.of(
            "svc", CircuitBreakerConfig(failure_threshold=1, timeout_seconds=cooldown)
        )
        self.bus = Bus()

    def stake(self) -> Stake:
        """Return a new stake with its bus."""
        announcer = Announcer("svc")
        announcer.bus = self.bus
        stake = Stake(self.circuit, announcer, None)
        self.link.recovery.follow(stake)
        return stake

    def trip(self) -> None:
        """Open the circuit."""
        self.link.run(Record(self.circuit, 0, "", (Run(Outcome.FAILURE, 1),), "E"))

    def is_half_open(self) -> bool:
        """Return True when the store says so."""
        return self.store._machines["svc"].snapshot(0).state is HALF_OPEN


@pytest.fixture
def scene() -> Iterator[Scene]:
    """One with a short open period."""
    scene = Scene()
    yield scene
    scene.link.recovery.stop()


def test_all_buses_of_a_process_are_told_once(scene: Scene) -> None:
    """Two breakers with the same bus: one event."""
    stakes = [scene.stake(), scene.stake()]
    scene.trip()
    wait_until(lambda: scene.bus.states)
    assert scene.is_half_open()
    assert scene.bus.states == ["half_open"]
    assert len(scene.store.promotions) == len(stakes) - 1


def test_a_circuit_that_nobody_uses_any_more_is_left_alone(scene: Scene) -> None:
    """Its breaker is gone when the open period ends."""
    stake = scene.stake()
    scene.trip()
    del stake
    gc.collect()
    wait_until(lambda: "svc" not in scene.link.recovery._agenda)
    assert scene.store.promotions == []


def test_a_circuit_that_is_expected_needs_no_breaker(scene: Scene) -> None:
    """The event bus knows of it."""
    scene.trip()
    scene.link.recovery.expect("svc", 0.06)
    wait_until(scene.is_half_open)


def test_a_hint_without_a_deadline_ends_an_open_period(scene: Scene) -> None:
    """Only the expiry of the cooldown was heard of."""
    scene.store.run(Record(scene.circuit, 0, "", (Run(Outcome.FAILURE, 1),), "E"))
    time.sleep(0.05)
    scene.link.recovery.hurry("svc")
    wait_until(scene.is_half_open)


def test_a_store_that_is_away_is_tried_again(scene: Scene) -> None:
    """At the deadline it does not answer: it is tried again soon after it is back, not before."""
    stake = scene.stake()
    scene.trip()
    scene.store.fault = StoreUnavailableError("gone")
    wait_until(lambda: scene.link.failing is not None)
    time.sleep(0.2)
    assert len(scene.store.promotions) == 1
    scene.store.fault = None
    wait_until(scene.is_half_open)
    assert scene.link.failing is None
    assert scene.bus.states == ["half_open"]
    assert stake.group is not None


def test_a_deadline_in_the_far_future_is_waited_for(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Further away than a thread can wait at once; others are seen to meanwhile."""
    scene.link.recovery.expect("far", 1e15)
    stake = scene.stake()
    scene.trip()
    wait_until(scene.is_half_open)
    assert "far" in scene.link.recovery._agenda
    assert not caplog.messages
    assert stake.group is not None


def test_a_wait_ends_with_what_this_process_does_to_its_own_circuits() -> None:
    """Nothing is pushed there: the answers wake it."""
    link = Link(PrivateStore(), Pace(retry_interval=60.0))
    circuit = Circuit.of("svc", CircuitBreakerConfig(failure_threshold=1))
    link.run(Record(circuit, 0, "", (Run(Outcome.FAILURE, 1),), "E"))
    closed: list[bool] = []
    thread = threading.Thread(target=lambda: closed.append(wait_for_close(link, circuit, 10.0)))
    thread.start()
    wait_until(lambda: link.board.news._ears)
    time.sleep(0.05)
    link.order(Reset(circuit))
    thread.join(5.0)
    assert closed == [True]


def test_the_thread_ends_with_its_link() -> None:
    """Thrown away with a circuit open for long, a link leaves no thread behind."""
    scene = Scene(cooldown=600.0)
    stake = scene.stake()
    before = set(threading.enumerate())
    scene.trip()
    mine = [one for one in set(threading.enumerate()) - before if "recovery" in one.name]
    assert len(mine) == 1
    del scene, stake
    # Again and again: one that another thread began does not wait for this one.
    wait_until(lambda: gc.collect() >= 0 and not mine[0].is_alive())


def test_stakes_are_of_the_store_they_were_added_to_last() -> None:
    """Configured anew, a process does not end open periods of its former store."""
    first, second = Stakes(), Stakes()
    scene = Scene()
    stake, other = scene.stake(), scene.stake()
    for one in (stake, other):
        first.add(one)
    first.add(stake)
    assert first.of("svc") == [other, stake]
    second.add(stake)
    assert first.of("svc") == [other]
    assert second.of("svc") == [stake]
    del stake
    assert second.of("svc") == []
    assert not second._groups


def test_a_disowned_thread_gives_way_to_another() -> None:
    """An interrupted start leaves no thread that is believed to run."""
    background = Background("bb5-breaker-test")
    over, current = threading.Event(), []

    def work() -> None:
        over.wait(10.0)
        current.append(background.is_current)

    background.start(work)
    background.forget()
    assert not background.is_running
    background.start(work)
    over.set()
    wait_until(lambda: len(current) == 2)
    assert sorted(current) == [False, True]


def test_sixteen_hanging_checks_are_all_there_can_be() -> None:
    """The bound holds, and those that wait get their turn."""
    threads, over, ran = HealthThreads(most=3, rest=0.05), threading.Event(), []
    for number in range(5):
        threads.run(lambda number=number: (over.wait(10.0), ran.append(number)))  # type: ignore[misc]
    wait_until(lambda: threads._threads == 3 and not threads._idle)
    assert len(threads._waiting) == 2
    over.set()
    wait_until(lambda: sorted(ran) == list(range(5)))
    wait_until(lambda: threads._threads == 0)


async def _coroutine() -> None: ...


@pytest.mark.parametrize("check", [_coroutine, 5, "ping", lambda: (yield)])
def test_only_a_plain_function_is_a_health_check(check: Any) -> None:
    """Anything else is refused where it is given, with a way out."""
    with pytest.raises(TypeError, match="plain function"):
        CircuitBreaker("svc", health_check=check)
