"""Whether a call costs more in a process that has many circuits.

Each number of circuits has a process of its own, so that all can take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle, islice, repeat
from typing import Any

from .crew import Hand, hire
from .options import Effort
from .ours import make_breaker, succeed, use_server
from .place import Place
from .timing import Contender, Times, take_turns

__all__ = ["CIRCUITS", "measure_growth"]

CIRCUITS = (1, 100, 10_000)
# Less than any round trip takes, and more than any call without one.
_LEAST_ROUND_TRIP = 25e-6
_MOST_ROUNDS, _SETTLING_SECONDS, _IDLE_SECONDS = 20, 0.2, 1.5


def measure_growth(place: Place, effort: Effort) -> tuple[Times, Times]:
    """Measure calls by the number of circuits in their process.

    Returns:
        Calls of one circuit while the others exist, and calls that go round all circuits; the
        names of the contenders are the numbers of circuits.
    """
    with ExitStack() as stack:
        hands = {
            number: stack.enter_context(hire(_keep_circuits, place.url, place.prefix, number))
            for number in CIRCUITS
        }
        # Apart, since a round of all circuits leaves its process thousands to report.
        hot = take_turns([_contender(hands[each], each, "hot") for each in CIRCUITS], effort)
        turns = take_turns([_contender(hands[each], each, "round") for each in CIRCUITS], effort)
    return hot, turns


def _contender(hand: Hand, circuits: int, order: str) -> Contender:
    return Contender(str(circuits), lambda count: float(hand.ask((order, count))))


def _keep_circuits(url: str, prefix: str, circuits: int) -> Callable[[Any], float]:
    """Make breakers, call each once, and return what calls them as ordered."""
    use_server(url, prefix)
    guarded = [
        make_breaker(f"growth-{circuits}-{number}").decorate(succeed) for number in range(circuits)
    ]
    _settle(guarded)
    hot, turns = repeat(guarded[0]), cycle(guarded)

    def carry_out(order: tuple[str, int]) -> float:
        name, count = order
        calls = islice(hot if name == "hot" else turns, count)
        begun = time.perf_counter()
        for call in calls:
            call()
        return time.perf_counter() - begun

    return carry_out


def _settle(guarded: list[Callable[[], Any]]) -> None:
    """Call all circuits until none of them needs a round trip any more.

    Raises:
        AssertionError: They go on asking.
    """
    for _ in range(_MOST_ROUNDS):
        begun = time.perf_counter()
        for call in guarded:
            call()
        if time.perf_counter() - begun < _LEAST_ROUND_TRIP * len(guarded):
            # What had calls a moment ago is not idle yet.
            time.sleep(_IDLE_SECONDS)
            return
        time.sleep(_SETTLING_SECONDS)
    raise AssertionError(f"calls of {len(guarded)} circuits go on asking Redis")
