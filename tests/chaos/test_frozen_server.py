"""A server stopped by SIGSTOP under the calls of eight processes, and let go on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from tests.server.circuits import eventually
from tests.support.servers import RunningServer, discover, start
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import Keys

_WORKERS = 8
_RATE = 50.0
_TIMEOUT = 0.1
# What a busy machine may add to a call that waits for a time-out.
_SLACK = 0.4
# As in production; only the patience of other tests is not asked for.
_SETTINGS = {"store_timeout": _TIMEOUT}


@dataclass(frozen=True, slots=True)
class _Outage:
    """What the calls of all workers met.

    Args:
        took: Seconds of each call during the outage, in rising order.
        slow: How many calls of each worker waited.
        wrong: Errors of calls.
        counted: Successes that were made, and those that the store had two seconds after.
    """

    took: list[float]
    slow: list[int]
    wrong: list[str]
    counted: tuple[int, int]


def _freeze(seconds: float) -> _Outage:
    with (
        start(discover()[0]) as server,
        Crew(_WORKERS, Assignment(server.url, "t-frozen", settings=_SETTINGS)) as crew,
    ):
        keys = Keys(server.client(), "t-frozen")
        before = crew.ask_all("steady_calls", seconds=0.5, rate=_RATE)
        server.pause()
        try:
            seen = crew.ask_all("steady_calls", seconds=seconds, rate=_RATE)
        finally:
            server.resume()
        resumed = time.monotonic()
        after = crew.ask_all("steady_calls", seconds=1.5, rate=_RATE)
        made = sum(len(one["made"]) for one in [*before, *seen, *after])
        while int(keys.field("total_successes")) < made and time.monotonic() < resumed + 2.0:
            time.sleep(0.02)
        counted = int(keys.field("total_successes"))
    slow = [sum(took > 0.05 for _, took in one["made"]) for one in seen]
    return _Outage(
        took=sorted(took for one in seen for _, took in one["made"]),
        slow=slow,
        wrong=[text for one in [*before, *seen, *after] for text in one["wrong"]],
        counted=(made, counted),
    )


@pytest.fixture(
    scope="module",
    params=[3.0, pytest.param(10.0, marks=pytest.mark.soak)],
    ids=["3s", "10s"],
)
def outage(request: pytest.FixtureRequest) -> _Outage:
    """One outage of that many seconds, at which several tests look."""
    return _freeze(request.param)


pytestmark = pytest.mark.server


def test_no_call_fails_because_of_a_frozen_server(outage: _Outage) -> None:
    """Eight processes go on calling: each call returns what it returns."""
    assert outage.wrong == []


def test_no_call_waits_for_longer_than_one_timeout(outage: _Outage) -> None:
    """Whatever meets the frozen server gives up after store_timeout."""
    assert outage.took[-1] < _TIMEOUT + _SLACK, outage.took[-10:]


def test_hardly_a_call_waits_at_all(outage: _Outage) -> None:
    """In cached mode the slowest of a hundred calls takes at most 5 ms longer."""
    assert outage.took[int(len(outage.took) * 0.99)] <= 0.005, (outage.slow, outage.took[-50:])


def test_all_that_was_counted_is_in_the_store_two_seconds_later(outage: _Outage) -> None:
    """What was called during the outage is added when the server goes on, no call twice."""
    made, counted = outage.counted
    assert counted == made


def test_protection_goes_on_and_is_shared_afterwards(
    own_server: RunningServer, prefix: str
) -> None:
    """Each process trips by itself meanwhile; two seconds after, the fleet's circuit is open."""
    rules = {"failure_threshold": 3}
    assignment = Assignment(own_server.url, prefix, config=rules, settings=_SETTINGS)
    keys = Keys(own_server.client(), prefix)
    with Crew(_WORKERS, assignment) as crew:
        crew.ask_all("calls", outcomes="s" * 5)
        own_server.pause()
        try:
            assert crew.ask_all("calls", outcomes="ffffs") == ["fffrr"] * _WORKERS
        finally:
            own_server.resume()
        eventually(
            lambda: crew.ask_all("calls", outcomes="s") and keys.field("state") == "open",
            "open for all",
            seconds=2.0,
        )
        assert crew.ask_all("calls", outcomes="s") == ["r"] * _WORKERS
    assert [state for state, _ in keys.transitions()] == ["open"]
