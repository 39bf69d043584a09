"""Times of calls, in rounds in which all contestants take turns.

A machine that is busy for a moment then slows all of them alike, and a ratio taken within
each round stays right.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from statistics import median
from typing import Any

from .options import Effort

__all__ = ["Contender", "Times", "awaiting", "calling", "raising", "take_turns"]

_SETTLING_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those compared.

    Args:
        name: As reports show it.
        run: Makes so many calls and returns the seconds they took.
    """

    name: str
    run: Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Times:
    """What each contender took for one call, in ns, round by round."""

    rounds: dict[str, list[float]]

    def __contains__(self, name: str) -> bool:
        return name in self.rounds

    def ns(self, name: str) -> float:
        """Return the median time of one call in ns."""
        return round(median(self.rounds[name]), 1)

    def ratio(self, name: str, base: str, base_calls: int = 1) -> float | None:
        """Return how many times ``base_calls`` calls of another one call of this one takes.

        Returns:
            The median of the ratios within each round; None when either did not take part.
        """
        if name not in self.rounds or base not in self.rounds:
            return None
        pairs = zip(self.rounds[name], self.rounds[base], strict=True)
        return median(own / (base_calls * other) for own, other in pairs)

    def medians(self) -> dict[str, float]:
        """Return the median time of each contender in ns."""
        return {name: self.ns(name) for name in self.rounds}


def take_turns(contenders: list[Contender], effort: Effort) -> Times:
    """Let contenders make calls, one after the other, in each of several rounds.

    Args:
        contenders: Who takes part; each round begins with another of them.
        effort: Number of rounds and length of a turn.
    """
    _warm_up(contenders)
    calls = {each.name: _calibrate(each, effort.seconds) for each in contenders}
    rounds: dict[str, list[float]] = {each.name: [] for each in contenders}
    for number in range(effort.rounds):
        first = number % len(contenders)
        for each in contenders[first:] + contenders[:first]:
            count = calls[each.name]
            rounds[each.name].append(each.run(count) / count * 1e9)
    return Times(rounds)


def _warm_up(contenders: list[Contender]) -> None:
    """Have connections made, and what is learnt in the background learnt, before it counts."""
    for each in contenders:
        each.run(10)
    time.sleep(_SETTLING_SECONDS)
    for each in contenders:
        each.run(10)


def _calibrate(contender: Contender, seconds: float) -> int:
    """Return how many calls fill a turn."""
    count = 1
    while (taken := contender.run(count)) < seconds / 8 and count < 10_000_000:
        count *= 4
    return max(1, round(count * seconds / taken))


def calling(name: str, call: Callable[[], Any]) -> Contender:
    """Return a contender that makes one call again and again."""

    def run(count: int) -> float:
        begun = time.perf_counter()
        for _ in repeat(None, count):
            call()
        return time.perf_counter() - begun

    return Contender(name, run)


def raising(name: str, call: Callable[[], Any], error: type[BaseException]) -> Contender:
    """Return a contender whose every call raises that error."""

    def run(count: int) -> float:
        begun = time.perf_counter()
        for _ in repeat(None, count):
            try:
                call()
            except error:
                continue
            raise AssertionError(f"{name}: a call did not raise {error.__name__}")
        return time.perf_counter() - begun

    return Contender(name, run)


def awaiting(
    name: str,
    runner: asyncio.Runner,
    call: Callable[[], Awaitable[Any]],
    error: type[BaseException] | None = None,
) -> Contender:
    """Return a contender that awaits one call again and again in a running loop.

    Args:
        name: As reports show it.
        runner: Has the loop.
        call: Makes what is awaited.
        error: What every call raises; None when it returns.
    """

    async def succeed(count: int) -> float:
        begun = time.perf_counter()
        for _ in repeat(None, count):
            await call()
        return time.perf_counter() - begun

    async def fail(count: int) -> float:
        assert error is not None
        begun = time.perf_counter()
        for _ in repeat(None, count):
            with suppress(error):
                await call()
        return time.perf_counter() - begun

    work = succeed if error is None else fail
    return Contender(name, lambda count: runner.run(work(count)))
