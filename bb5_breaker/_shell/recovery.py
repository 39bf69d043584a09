"""Ends open periods, and has services checked, while nobody calls."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol
from weakref import ReferenceType

from bb5_breaker._core.commands import Promote
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView
from bb5_breaker._core.seen import end_of
from bb5_breaker._shell.stakes import Check, Stake, Stakes
from bb5_breaker._store.background import Background
from bb5_breaker._store.chance import draw_between
from bb5_breaker._store.forks import renew_in_children
from bb5_breaker._store.importing import IMPORTING
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.events import Event
from bb5_breaker.exceptions import StorePermissionError
from bb5_breaker.state import CircuitState

if TYPE_CHECKING:
    from bb5_breaker._shell.agenda import Agenda, Plan
    from bb5_breaker._shell.link import Link

__all__ = ["Hearer", "Recovery"]

_log = logging.getLogger("bb5_breaker")
_IDLE_SECONDS: Final = 30.0
# A deadline may lie further away than a thread can wait at once.
_LONGEST_WAIT: Final = 3600.0
_MOST_WAITING: Final = 100_000
_HURRY_JITTER: Final = 0.05
# A whole fleet hears of an opening at once.
_CONFIRM_JITTER: Final = 1.0
_CHECK_JITTER: Final = 0.5
# After a health check that settled nothing.
_CHECK_PAUSE: Final = 1.0


class Hearer(Protocol):
    """An event bus that is given to no breaker."""

    def hear_of_store(self, event: Event) -> None:
        """Tell its subscribers what became of the store."""


class Recovery:
    """Sees to the circuits of one store that are not closed. Thread-safe.

    All is done by one thread, which lives from the first open circuit on and sleeps until the
    next one is due; others only leave it messages, in a queue that no interrupt leaves locked.
    In the child of a fork nothing is known, as nothing is on the board.

    Args:
        link: The way to the store; weakly, as the link holds this.
        retry_interval: Seconds between attempts while the store is down.
        clock: Monotonic seconds.
        draw: Gives a number between two bounds.
    """

    def __init__(
        self,
        link: ReferenceType[Link],
        retry_interval: float,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = draw_between,
    ) -> None:
        self._link = link
        self._retry_interval = retry_interval
        self._clock = clock
        self._draw = draw
        self._stakes = Stakes()
        self._thread = Background("bb5-breaker-recovery")
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without a thread and without anything to do."""
        self._messages: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # None before the first circuit that is not closed: then a process imports what works.
        self._begun: Agenda | None = None
        # What is being done for circuits whose health check runs.
        self._checked: dict[str, Plan] = {}
        self._thread.forget()
        self._stopped = False
        self._may_not = False

    def follow(self, stake: Stake) -> None:
        """See to the circuit of a breaker from now on, for as long as the breaker lives."""
        self._stakes.add(stake)

    def note(self, service: str, told: CircuitView, now: float) -> None:
        """Take a store's words on a circuit, which arrived just now; costs little, never waits."""
        if self._begun is None and told.state is CircuitState.CLOSED:
            return
        agenda, ends = self._agenda, end_of(told, now) if told.until_ms else 0.0
        if not agenda.concerns(told, service, ends):
            return
        # A circuit that is half-open without our doing concerns only who would check it.
        is_news = told.state is CircuitState.HALF_OPEN and service not in agenda
        if not is_news or self._is_to_check(service):
            self._post(lambda: self._take(service, told, ends, now))

    def expect(self, service: str, seconds: float) -> None:
        """Be told that a circuit is open and its period ends in so many seconds.

        Its period is ended then also when no breaker of this process has to do with it.
        """
        ends = self._clock() + seconds
        self._post(lambda: self._agenda.expect(service, ends))

    def hurry(self, service: str) -> None:
        """Be told that an open period seems to be over; harmless when it is not."""
        due = self._clock() + self._draw(0.0, _HURRY_JITTER)
        self._post(lambda: self._agenda.hurry(service, due))

    def confirm(self, service: str) -> None:
        """Ask the store within a second about a circuit that is said to be open.

        Only what it says itself may be given back to it when it has lost its memory.
        """
        due = self._clock() + self._draw(0.0, _CONFIRM_JITTER)
        self._post(lambda: self._agenda.hurry(service, due))

    def tell_of_store(self, event: Event, hearers: Iterable[Hearer]) -> None:
        """Have the event buses of this process told what became of the store, from the thread."""
        tell = [hearer.hear_of_store for hearer in hearers]
        tell += [announcer.tell_of_store for announcer in self._stakes.announcers()]
        for one in tell:
            self._post(partial(one, event))

    def stop(self) -> None:
        """Let the thread end; does not wait."""
        self._stopped = True
        self._messages.put(None)

    def take_turn(self) -> float | None:
        """Do what is due; return the seconds until there is more to do, None when there is not."""
        for plan in self._agenda.pop_due(self._clock()):
            if self._stopped:
                return 0.0
            self._carry_out(plan)
            self._hear_all()
        due = self._agenda.next_due()
        return None if due is None else max(0.0, due - self._clock())

    def _post(self, message: Callable[[], None]) -> None:
        if self._messages.qsize() < _MOST_WAITING:
            self._messages.put(message)
        if not self._thread.is_running and not self._stopped:
            self._thread.start(self._run)

    def _run(self) -> None:
        while self._thread.is_current and not self._stopped:
            try:
                self._hear_all()
                seconds = self.take_turn()
                if not self._wait(seconds):
                    return
            except Exception:
                _log.exception("the recovery of circuits met an error that was not expected")
                time.sleep(self._retry_interval)
        # What a disowned thread took in is the other's to see to.
        self._messages.put(None)

    def _wait(self, seconds: float | None) -> bool:
        """Wait for a message or the time; False when the thread is to end, having nothing to do."""
        if self._stopped:
            # Said meanwhile, and the message that wakes this thread was heard with the others.
            return False
        try:
            pause = _IDLE_SECONDS if seconds is None else min(seconds, _LONGEST_WAIT)
            message = self._messages.get(timeout=pause)
        except Empty:
            if seconds is not None:
                return True
            self._thread.leave()
            # Who left a message in this moment may have seen the thread run.
            if not self._messages.empty():
                self._thread.start(self._run)
            return False
        if message is not None:
            message()
        return True

    def _hear_all(self) -> None:
        while True:
            try:
                message = self._messages.get_nowait()
            except Empty:
                return
            if message is not None:
                message()

    @property
    def _agenda(self) -> Agenda:
        begun = self._begun
        if begun is None:
            with IMPORTING:
                from bb5_breaker._shell.agenda import Agenda

                begun = self._begun = self._begun or Agenda(self._draw)
        return begun

    def _take(self, service: str, told: CircuitView, ends: float, now: float) -> None:
        self._agenda.take(service, told, ends, now, self._is_to_check(service))

    def _is_to_check(self, service: str) -> bool:
        return service not in self._checked and self._check_of(service) is not None

    def _check_of(self, service: str) -> Check | None:
        for stake in self._stakes.of(service):
            if stake.check is not None:
                return stake.check
        return None

    def _carry_out(self, plan: Plan) -> None:
        link, stakes = self._link(), self._stakes.of(plan.service)
        if link is None or not (stakes or plan.is_expected):
            return
        if plan.is_check and link.trouble.is_well(plan.service):
            self._begin_check(plan)
            return
        if stakes:
            told = link.attempt(Promote(stakes[0].circuit))
        else:
            try:
                # The end of an open period is the same by all rules.
                told = link.volunteer(Promote(Circuit.of(plan.service, CircuitBreakerConfig())))
            except StorePermissionError as error:
                self._leave_to_others(error)
                return
        if told is None:
            pause = self._retry_interval * self._draw(0.75, 1.25)
            self._agenda.postpone(plan, self._clock() + pause)
        elif isinstance(told, CircuitView):
            self._note_answer(plan, stakes, told)

    def _leave_to_others(self, error: StorePermissionError) -> None:
        """Do without the right to end open periods: this user only listens."""
        if not self._may_not:
            self._may_not = True
            _log.info("%s. Open periods are left to other processes to end", error.message)

    def _note_answer(self, plan: Plan, stakes: list[Stake], told: CircuitView) -> None:
        if told.state is CircuitState.OPEN and plan.is_expected:
            # Too soon; it is expected still.
            self._agenda.expect(plan.service, end_of(told, self._clock()))
        self._announce(stakes, told)

    def announce(self, service: str, told: CircuitView) -> None:
        """Tell the event buses of this process's breakers of a transition that it made."""
        self._announce(self._stakes.of(service), told)

    def _announce(self, stakes: list[Stake], told: CircuitView) -> None:
        # Each event bus once, however many breakers it was given to.
        for announcer in {id(stake.announcer.bus): stake.announcer for stake in stakes}.values():
            announcer.tell(told)

    def _begin_check(self, plan: Plan) -> None:
        with IMPORTING:
            from bb5_breaker._shell.health_threads import health_threads
        check = self._check_of(plan.service)
        if check is not None and plan.service not in self._checked:
            self._checked[plan.service] = plan
            health_threads().run(lambda: self._check(plan.service, check))

    def _check(self, service: str, check: Check) -> None:
        """Check a service, on a thread for that, and plan what follows."""
        again: float | None = _CHECK_PAUSE
        try:
            again = check()
        except Exception:
            _log.exception("the health check of '%s' met an error that was not expected", service)
        finally:
            self._post(lambda: self._end_check(service, again))

    def _end_check(self, service: str, again: float | None) -> None:
        plan = self._checked.pop(service)
        if again is not None:
            due = self._clock() + again + self._draw(0.0, _CHECK_JITTER)
            self._agenda.postpone(plan, due)
