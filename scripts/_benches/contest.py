"""Contests: guards of ours and of other libraries at the same work in the same run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from bb5_breaker import CircuitBreaker, CircuitBreakerOpenError

from .competitors import installed
from .guards import Decorator, Guard, Rules
from .options import Effort
from .ours import NEVER, fail, make_breaker, succeed, trip
from .place import Place, count_traffic
from .timing import Contender, Times, awaiting, calling, raising, take_turns

__all__ = ["Contest", "Entrant", "Work", "libraries", "ours"]


class Work(StrEnum):
    """What the guarded calls come to."""

    SUCCESS = "success"
    FAILURE = "failure"
    REJECTION = "rejection"


@dataclass(frozen=True, slots=True)
class Entrant:
    """One who guards calls.

    Args:
        name: As reports show it.
        guard: Guards functions by rules.
        error: What it raises to reject a call.
    """

    name: str
    guard: Guard
    error: type[BaseException]


def ours(
    name: str,
    style: Callable[[CircuitBreaker], Decorator] = lambda breaker: breaker.decorate,
    consistency: str = "cached",
) -> Entrant:
    """Return an entrant of ours.

    Args:
        name: As reports show it.
        style: How its breaker guards a function.
        consistency: That of its breaker.
    """

    def guard(rules: Rules) -> Decorator:
        return style(make_breaker(rules.name, threshold=rules.threshold, consistency=consistency))

    return Entrant(name, guard, CircuitBreakerOpenError)


def libraries(kind: str) -> list[Entrant]:
    """Return the other libraries that have guards of a kind, a field of Competitor."""
    return [
        Entrant(each.package, guard, each.error)
        for each in installed()
        if (guard := getattr(each, kind)) is not None
    ]


async def _succeed_async() -> None:
    """Do nothing."""


async def _fail_async() -> None:
    raise ValueError


@dataclass(frozen=True, slots=True)
class Contest:
    """Entrants that do the same work.

    Args:
        name: As reports show it; part of the names of circuits.
        entrants: Who takes part.
        place: The server.
        shared: They share their circuits through it.
        runner: Has the loop, when coroutine functions are guarded; None for plain functions.
    """

    name: str
    entrants: list[Entrant]
    place: Place
    shared: bool
    runner: asyncio.Runner | None = None

    def hold(self, work: Work, effort: Effort) -> Times:
        """Measure one kind of work."""
        return take_turns([self._contender(each, work) for each in self.entrants], effort)

    def count_round_trips(self, work: Work, calls: int) -> dict[str, float]:
        """Return how many round trips a call of each entrant takes."""
        counted = {}
        for each in self.entrants:
            contender = self._contender(each, work)
            # The first call connects.
            contender.run(2)
            traffic = count_traffic(self.place.client, partial(contender.run, calls))
            counted[each.name] = round(traffic.round_trips / calls, 1)
        return counted

    def _contender(self, entrant: Entrant, work: Work) -> Contender:
        call = self._guarded(entrant, work)
        error = {Work.SUCCESS: None, Work.FAILURE: ValueError, Work.REJECTION: entrant.error}[work]
        if self.runner is not None:
            return awaiting(entrant.name, self.runner, call, error)
        if error is None:
            return calling(entrant.name, call)
        return raising(entrant.name, call, error)

    def _guarded(self, entrant: Entrant, work: Work) -> Callable[[], Any]:
        title = f"{self.place.prefix}-{self.name}-{entrant.name}-{work}"
        rules = Rules(
            "".join(letter if letter.isalnum() else "-" for letter in title),
            threshold=1 if work is Work.REJECTION else NEVER,
            url=self.place.url if self.shared else "",
        )
        if self.runner is None:
            call = entrant.guard(rules)(succeed if work is Work.SUCCESS else fail)
        else:
            call = entrant.guard(rules)(_succeed_async if work is Work.SUCCESS else _fail_async)
        if work is Work.REJECTION:
            trip(self._blocking(call), entrant.error)
        return call

    def _blocking(self, call: Callable[[], Any]) -> Callable[[], Any]:
        runner = self.runner
        return call if runner is None else lambda: runner.run(call())
