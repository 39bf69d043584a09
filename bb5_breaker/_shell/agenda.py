"""What a process has to do for circuits that nobody calls, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from bb5_breaker._core.replies import CircuitView
from bb5_breaker.state import CircuitState

__all__ = ["PROMOTION_JITTER", "Agenda", "Plan", "Step"]

# A fleet must not knock at once; those who hear that another was first do nothing.
PROMOTION_JITTER: Final = 0.1
# Who made the circuit half-open checks first, as others then find a circuit that is closed.
_OWN_CHECK: Final = (0.0, 0.05)
_OTHERS_CHECK: Final = (0.2, 1.0)
_MOST: Final = 100_000
_UNKNOWN: Final = -1
# Two answers that tell of the same moment differ by their ways here.
_TOLERANCE: Final = 0.002


class Step(Enum):
    """What is to be done with a circuit."""

    PROMOTE = auto()
    CHECK = auto()


class Plan(NamedTuple):
    """What is to be done with one circuit next.

    Args:
        service: The circuit.
        step: What to do.
        due: When, in monotonic seconds.
        ends: When its open period ends, when there is one.
        epoch: Its life, as far as it is known.
        generation: Number of its state; below 0 when it is not known.
        is_expected: It is to be done whether or not a breaker has to do with it.
    """

    service: str
    step: Step
    due: float
    ends: float
    epoch: str
    generation: int
    is_expected: bool = False

    @property
    def is_check(self) -> bool:
        """True when the service is to be checked."""
        return self.step is Step.CHECK


class Agenda:
    """The plans of one process, one for each circuit that is not closed. For one thread, but for
    :meth:`concerns`.

    Args:
        draw: Gives a number between two bounds.
    """

    def __init__(self, draw: Callable[[float, float], float]) -> None:
        self._draw = draw
        self._plans: dict[str, Plan] = {}
        # Plans that were replaced stay in it until they are due, or too many.
        self._order: list[tuple[float, str]] = []

    def __contains__(self, service: str) -> bool:
        return service in self._plans

    def concerns(self, told: CircuitView, service: str, ends: float) -> bool:
        """Return False when :meth:`take` would change nothing; by any thread."""
        plan = self._plans.get(service)
        if plan is None:
            return told.state is not CircuitState.CLOSED
        if plan.epoch != told.epoch:
            # Of another life than the open one, closed may be old news: the end of the open
            # period is asked for all the same.
            return told.state is not CircuitState.CLOSED or not plan.epoch
        if plan.generation != told.generation:
            return told.generation > plan.generation
        if plan.is_check:
            # Pushed before it was answered: this process made it half-open itself.
            return told.moved_from is not None
        return 0.0 < ends < plan.ends - _TOLERANCE

    def take(self, service: str, told: CircuitView, ends: float, now: float, checks: bool) -> None:
        """Take a store's words.

        Args:
            service: The circuit.
            told: What was told of it.
            ends: When its open period ends; 0 when that was not told.
            now: The present.
            checks: Whether there is a health check for it here.
        """
        if not self.concerns(told, service, ends):
            return
        if told.state is CircuitState.OPEN:
            self._take_open(service, told, ends or now)
        elif told.state is CircuitState.HALF_OPEN and checks:
            bounds = _OTHERS_CHECK if told.moved_from is None else _OWN_CHECK
            due = now + self._draw(*bounds)
            self._put(Plan(service, Step.CHECK, due, 0.0, told.epoch, told.generation))
        else:
            self._plans.pop(service, None)

    def expect(self, service: str, ends: float) -> None:
        """Plan the end of an open period, on hearsay; what is known already goes first."""
        plan = self._plans.get(service)
        if plan is None:
            self._promote(service, ends, "", _UNKNOWN, True)
        elif not plan.is_check:
            self._put(plan._replace(is_expected=True))

    def hurry(self, service: str, due: float) -> None:
        """End an open period sooner than planned: it seems to be over."""
        plan = self._plans.get(service)
        if plan is None or not plan.is_check:
            plan = plan or Plan(service, Step.PROMOTE, due, due, "", _UNKNOWN)
            self._put(plan._replace(due=min(due, plan.due), is_expected=True))

    def postpone(self, plan: Plan, due: float) -> None:
        """Do later what came to nothing now; unless something else is planned by now."""
        if plan.service not in self._plans:
            self._put(plan._replace(due=due))

    def next_due(self) -> float | None:
        """Return when there is something to do; None when there is nothing."""
        while self._order:
            due, service = self._order[0]
            plan = self._plans.get(service)
            if plan is not None and plan.due == due:
                return due
            heappop(self._order)
        return None

    def pop_due(self, now: float) -> Iterator[Plan]:
        """Return what is due, each plan once."""
        while (due := self.next_due()) is not None and due <= now:
            yield self._plans.pop(heappop(self._order)[1])

    def _take_open(self, service: str, told: CircuitView, ends: float) -> None:
        plan = self._plans.get(service)
        if plan is not None and not plan.is_check:
            if plan.generation == told.generation and plan.epoch == told.epoch:
                # The earlier end is right; the place in the fleet's spread stays.
                due = min(plan.due, plan.due - (plan.ends - ends))
                self._put(plan._replace(due=due, ends=ends))
                return
            if plan.epoch not in ("", told.epoch):
                # Which of two lives is the present one nobody knows: who asks too soon is told.
                ends = min(ends, plan.ends)
        is_expected = plan is not None and plan.is_expected
        self._promote(service, ends, told.epoch, told.generation, is_expected)

    def _promote(
        self, service: str, ends: float, epoch: str, generation: int, is_expected: bool
    ) -> None:
        due = ends + self._draw(0.0, PROMOTION_JITTER)
        self._put(Plan(service, Step.PROMOTE, due, ends, epoch, generation, is_expected))

    def _put(self, plan: Plan) -> None:
        if len(self._plans) >= _MOST and plan.service not in self._plans:
            return
        self._plans[plan.service] = plan
        heappush(self._order, (plan.due, plan.service))
        if len(self._order) > 2 * len(self._plans) + 64:
            self._order = [(one.due, name) for name, one in self._plans.items()]
            heapify(self._order)
