"""A network that is slow, cuts connections, swallows what is sent, or lets it through by drops."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import redis

from bb5_breaker import CircuitBreaker
from tests.server.cached import NEVER, await_trust
from tests.server.circuits import eventually
from tests.support.proxy import Proxy
from tests.support.servers import discover, start
from tests.support.workers_circuit import (
    Keys,
    ServiceFailed,
    end_link,
    fail,
    make_breaker,
    settings_restored,
)

_PREFIX = "t-network"
_TIMEOUT = 0.2
# What a busy machine may add.
_SLACK = 0.4
_SETTINGS = {
    "store_timeout": _TIMEOUT,
    "store_retry_interval": 0.25,
    "heartbeat_interval": 0.1,
    "flush_interval": 0.02,
}


@dataclass(frozen=True, slots=True)
class _Drive:
    """What calls met.

    Args:
        took: Seconds that each took, in rising order.
        successes: How many returned.
        failures: How many raised their own error.
    """

    took: list[float]
    successes: int
    failures: int


def _drive(breaker: CircuitBreaker, seconds: float) -> _Drive:
    """Make calls, every third of which fails; each has to end as it ends."""
    took, failures = [], 0
    ends = time.monotonic() + seconds
    while (begun := time.monotonic()) < ends:
        is_to_fail = len(took) % 3 == 2
        result = breaker.call_result(fail if is_to_fail else int)
        took.append(time.monotonic() - begun)
        failures += is_to_fail
        if is_to_fail:
            assert type(result.exception) is ServiceFailed, result
        else:
            assert result.success, result
        time.sleep(0.002)
    return _Drive(sorted(took), len(took) - failures, failures)


def _slow(proxy: Proxy) -> None:
    for lane in (proxy.calls, proxy.feeds):
        lane.delay(0.2)


def _very_slow(proxy: Proxy) -> None:
    for lane in (proxy.calls, proxy.feeds):
        lane.delay(_TIMEOUT * 2)


def _cutting(proxy: Proxy) -> None:
    for lane in (proxy.calls, proxy.feeds):
        lane.lose(0.05, seed=7)


def _deaf(proxy: Proxy) -> None:
    for lane in (proxy.calls, proxy.feeds):
        lane.stall()


def _mute(proxy: Proxy) -> None:
    for lane in (proxy.calls, proxy.feeds):
        lane.hold()


def _black_hole(proxy: Proxy) -> None:
    _deaf(proxy)
    _mute(proxy)


def _half_open(proxy: Proxy) -> None:
    for lane in (proxy.calls, proxy.feeds):
        lane.abandon()


def _trickling(proxy: Proxy) -> None:
    for lane in (proxy.calls, proxy.feeds):
        lane.trickle(_TIMEOUT / 10)


def _heal(proxy: Proxy) -> None:
    for lane in (proxy.calls, proxy.feeds):
        lane.delay(0.0)
        lane.lose(0.0)
        lane.trickle(0.0)
        lane.flow()
        lane.release()


_FAULTS = [_very_slow, _cutting, _deaf, _mute, _black_hole, _half_open, _trickling]


@dataclass(frozen=True, slots=True)
class _Ordeal:
    """What came of a fault.

    Args:
        fault: Its name.
        seen: What the calls met while it lasted.
        counted: Successes and failures that the store has counted in the end, of those.
    """

    fault: str
    seen: _Drive
    counted: tuple[int, int]


@pytest.fixture(scope="module", params=_FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def ordeal(request: pytest.FixtureRequest, mode: str) -> _Ordeal:
    """One fault while calls go on, until it is over; several tests look at what came of it."""
    fault: Callable[[Proxy], None] = request.param
    with (
        settings_restored(),
        start(discover()[0]) as server,
        Proxy(server.url) as proxy,
        server.client() as client,
    ):
        settings = {**_SETTINGS, "consistency": mode}
        breaker = make_breaker(proxy.url, _PREFIX, settings=settings, failure_threshold=NEVER)
        if mode == "cached":
            await_trust(breaker, client)
        breaker.call(int)
        breaker.flush()
        before = _counted(client)
        fault(proxy)
        seen = _drive(breaker, 0.45)
        _heal(proxy)
        extra = _recover(breaker)
        after = _await_counts(client)
        end_link(breaker)
    successes, failures = (late - early for early, late in zip(before, after, strict=True))
    return _Ordeal(fault.__name__, seen, (successes - extra, failures))


@pytest.fixture(scope="module", params=["cached", "strict"])
def mode(request: pytest.FixtureRequest) -> str:
    """Whether calls go by what the process knows."""
    return str(request.param)


def _recover(breaker: CircuitBreaker) -> int:
    """Call until the store is used again; return how many calls it took."""
    calls = 0

    def is_back() -> bool:
        nonlocal calls
        calls += 1
        return breaker.call_result(int).success and breaker._link().failing is None

    eventually(is_back, "the store is used again")
    return calls


def _counted(client: redis.Redis, prefix: str = _PREFIX) -> tuple[int, int]:
    keys = Keys(client, prefix)
    return int(keys.field("total_successes") or 0), int(keys.field("total_failures") or 0)


def _await_counts(client: redis.Redis) -> tuple[int, int]:
    """Return what the store has counted when nothing more comes."""
    counts, since = _counted(client), time.monotonic()
    while time.monotonic() < since + 0.2:
        if (now := _counted(client)) != counts:
            counts, since = now, time.monotonic()
        time.sleep(0.01)
    return counts


@pytest.mark.server
def test_a_call_waits_for_one_timeout_at_most(ordeal: _Ordeal) -> None:
    """Whatever the network does, each call ends as it ends, and soon; later all is well again."""
    took = ordeal.seen.took
    assert took[-1] < _TIMEOUT + _SLACK, took[-5:]
    assert took[len(took) // 2] < 0.02, "most calls do not wait at all"


@pytest.mark.server
def test_nothing_counts_twice(ordeal: _Ordeal) -> None:
    """Also what arrives after it was given up, or is sent again as its answer was lost."""
    successes, failures = ordeal.counted
    assert failures <= ordeal.seen.failures
    # Calls made while waiting for the store were perhaps not counted.
    assert successes <= ordeal.seen.successes


@pytest.mark.server
def test_no_failure_is_lost(ordeal: _Ordeal) -> None:
    """When the network is well again the store has them all."""
    assert ordeal.counted[1] == ordeal.seen.failures


def test_a_delay_below_the_timeout_only_costs_the_delay(
    proxy: Proxy, prefix: str, client: redis.Redis
) -> None:
    """200 ms away: calls of a closed circuit do not wait, a failing one waits once; all count."""
    settings = {"store_timeout": 1.0, "flush_interval": 0.02, "heartbeat_interval": 1.0}
    breaker = make_breaker(proxy.url, prefix, settings=settings, failure_threshold=NEVER)
    await_trust(breaker, client)
    breaker.flush()
    before = _counted(client, prefix)
    _slow(proxy)
    successes: list[float] = []
    failures: list[float] = []
    for work, took in [(int, successes)] * 200 + [(fail, failures)] * 3:
        begun = time.monotonic()
        breaker.call_result(work)
        took.append(time.monotonic() - begun)
    assert sorted(successes)[-2] < 0.01
    assert 0.2 <= max(failures) < 0.2 + _SLACK
    breaker.flush()
    assert _counted(client, prefix) == (before[0] + 200, before[1] + 3)


def test_a_server_that_answers_no_connection_costs_one_timeout(prefix: str) -> None:
    """What is sent to it is lost from the first packet on."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as waiting:
        address = listener.getsockname()
        # The only place in its queue; whoever comes next is not answered.
        waiting.connect(address)
        url = f"redis://127.0.0.1:{address[1]}"
        breaker = make_breaker(url, prefix, settings=_SETTINGS, failure_threshold=NEVER)
        seen = _drive(breaker, 0.6)
    assert seen.took[-1] < _TIMEOUT + _SLACK
    assert len(seen.took) > 50
