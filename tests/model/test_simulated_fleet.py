"""A fleet in thousands of random lives: what must hold whatever is delayed, lost or killed.

To see what happens in the history of a seed::

    python -m tests.model.simulated_fleet --seed 4711 --verbose
"""

from __future__ import annotations

from collections import Counter

import pytest

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.local_view import LocalView
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView, Verdict
from bb5_breaker._core.seen import Seen
from bb5_breaker._core.tally import Lease, Tally
from bb5_breaker.state import CircuitState
from tests.model.simulated_fleet.history import account_of, run_history

_AT_ONCE = 1_000
_AT_ONCE_IN_SOAK = 5_000
_SOAK_SEEDS = range(1_000_000, 1_100_000, _AT_ONCE_IN_SOAK)


def run_histories(first: int, count: int) -> Counter[str]:
    """Run histories of seeds that follow each other; return what happened in all."""
    happened: Counter[str] = Counter()
    for seed in range(first, first + count):
        happened += run_history(seed)
    return happened


@pytest.mark.parametrize("first", range(0, 10 * _AT_ONCE, _AT_ONCE))
def test_invariants_hold_in_every_history(first: int) -> None:
    """Places, freshness, generations, exact counts and agreement: each is checked all the time."""
    run_histories(first, _AT_ONCE)


@pytest.mark.soak
@pytest.mark.parametrize("first", _SOAK_SEEDS)
def test_invariants_hold_in_ten_times_as_many(first: int) -> None:
    """As above, with other seeds."""
    run_histories(first, _AT_ONCE_IN_SOAK)


def test_the_histories_come_to_something() -> None:
    """Whatever the invariants speak of happens, and not only now and then."""
    happened = run_histories(0, 300)
    often = ("recorded", "allow", "reject", "let through by the view", "rejected by the view")
    sometimes = ("counted", "probe", "stale", "settled", "open", "half_open", "repeat", "closed")
    rarely = ("held", "lost", "reset")
    for kinds, least in ((often, 500), (sometimes, 50), (rarely, 10)):
        for kind in kinds:
            assert happened[kind] >= least, (kind, happened)


def test_a_history_is_its_seed() -> None:
    """The same seed gives the same history, so that a failure can be replayed."""
    assert _without_names(account_of(7)) == _without_names(account_of(7))


def _without_names(account: str) -> list[str]:
    # The names of stand-ins differ from one to the next.
    return [line for line in account.splitlines()[1:] if "private@" not in line]


# What the fleet came to only once in tens of thousands of histories, told in short.


def make_view() -> LocalView:
    """Return a view that is subscribed since 0 s and may be believed until 1000 s."""
    view = LocalView(Circuit.of("svc", CircuitBreakerConfig()), None, 0.0)
    view.subscribe(Lease(1000.0), 0.0)
    return view


def tell(state: CircuitState, generation: int, epoch: str, left_ms: int = 0) -> CircuitView:
    """Return an answer of the store, of its second 1."""
    until_ms = 1000 + left_ms if left_ms else 0
    return CircuitView(
        Verdict.SEEN, state, generation, epoch, 1000, until_ms, 0, "", 0, None, False
    )


def test_a_deleted_life_gives_its_name_to_no_call() -> None:
    """An answer from before the circuit was deleted, overtaken by one from after, says nothing."""
    view = make_view()
    view.learn(tell(CircuitState.CLOSED, 0, ""), 2.0, 3.0)
    view.learn(tell(CircuitState.CLOSED, 0, "dead"), 1.0, 4.0)
    known = view.decide(5.0)
    assert isinstance(known, Tally)
    assert known.epoch == ""


def test_a_deleted_life_rejects_no_call() -> None:
    """Likewise where it was open: perhaps it came to be since, so the next call asks."""
    view = make_view()
    view.learn(tell(CircuitState.CLOSED, 0, ""), 2.0, 3.0)
    view.learn(tell(CircuitState.OPEN, 3, "dead", 60_000), 1.0, 4.0)
    assert view.decide(5.0) is None


def test_an_open_period_ends_when_it_was_told_to_end_first() -> None:
    """What was heard late, by a process that stood still, is put right by the next answer."""
    view = make_view()
    view.learn(tell(CircuitState.OPEN, 1, "life", 10_000), 1.0, 50.0)
    assert isinstance(view.decide(59.0), Seen)
    view.learn(tell(CircuitState.OPEN, 1, "life", 1_000), 51.0, 52.0)
    assert isinstance(view.decide(52.5), Seen)
    assert view.decide(53.5) is None
