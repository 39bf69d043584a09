"""What says nothing about the service counts nowhere and frees its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bb5_breaker import CircuitBreaker
from tests.support.servers import RunningServer
from tests.support.workers_circuit import (
    Keys,
    ServiceFailed,
    fail_once,
    make_breaker,
)

pytestmark = pytest.mark.usefixtures("both_modes")

Way = Callable[[CircuitBreaker, Callable[[], Any]], Any]


class Ignored(Exception):
    """An error outside exception_types."""


def _call(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    return breaker.call(work)


def _block(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    with breaker.protect():
        return work()


def _decorated(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    return breaker.decorate(work)()


_WAYS = [_call, _block, _decorated]
_ERRORS = [Ignored, KeyboardInterrupt, GeneratorExit, SystemExit, asyncio.CancelledError]


@pytest.fixture(params=[None, 5.0], ids=["no-timeout", "timeout"])
def breaker(request: pytest.FixtureRequest, any_server: RunningServer, prefix: str) -> Any:
    """A breaker that counts ServiceFailed only, without and with a call_timeout."""
    return make_breaker(
        any_server.url,
        prefix,
        failure_threshold=1,
        timeout_seconds=0.01,
        reset_timeout=0.0,
        success_threshold=2,
        half_open_max_calls=1,
        call_timeout=request.param,
        exception_types=(ServiceFailed,),
    )


def _raiser(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("kind", _ERRORS)
def test_a_neutral_probe_frees_its_place_and_counts_nowhere(
    any_server: RunningServer,
    prefix: str,
    breaker: CircuitBreaker,
    way: Way,
    kind: type[BaseException],
) -> None:
    """Ignored errors, interrupts and exits leave half-open as it was, its one place free."""
    fail_once(breaker)
    time.sleep(0.02)
    assert way(breaker, lambda: 1) == 1
    keys = Keys(any_server.client(), prefix)
    before = keys.everything()
    error = kind("neutral")
    with pytest.raises(kind) as caught:
        way(breaker, _raiser(error))
    assert caught.value is error
    assert keys.everything() == before
    assert breaker.stats.active_probes == 0
    assert way(breaker, lambda: 2) == 2
    assert breaker.is_closed


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("kind", _ERRORS)
def test_a_neutral_call_counts_nowhere_while_closed(
    any_server: RunningServer,
    prefix: str,
    breaker: CircuitBreaker,
    way: Way,
    kind: type[BaseException],
) -> None:
    """The statistics are the same before and after; the error is the caller's own, unchanged."""
    breaker.call(int)
    keys = Keys(any_server.client(), prefix)
    before = keys.everything()
    error = kind("neutral")
    with pytest.raises(kind) as caught:
        way(breaker, _raiser(error))
    assert caught.value is error
    assert keys.everything() == before


def test_leaving_a_generator_inside_a_block_is_neutral(
    any_server: RunningServer, prefix: str, breaker: CircuitBreaker
) -> None:
    """A generator that holds a probe and is closed raises GeneratorExit inside the block."""
    fail_once(breaker)
    time.sleep(0.02)

    def items() -> Iterator[int]:
        with breaker.protect():
            yield 1
            yield 2

    walk = items()
    assert next(walk) == 1
    assert breaker.stats.active_probes == 1
    walk.close()  # type: ignore[attr-defined]
    assert breaker.stats.active_probes == 0
    assert Keys(any_server.client(), prefix).field("state") == "half_open"


def test_a_subclass_of_a_counted_error_counts(breaker: CircuitBreaker) -> None:
    """exception_types are matched as an except clause does it."""

    class Worse(ServiceFailed):
        pass

    with pytest.raises(Worse):
        breaker.call(_raiser(Worse("failed")))
    assert breaker.is_open


@pytest.mark.parametrize("way", [_call, _decorated])
def test_a_call_that_returns_unfinished_work_ends_with_that_work(
    any_server: RunningServer, prefix: str, breaker: CircuitBreaker, way: Way
) -> None:
    """A coroutine returned by a plain function holds the place until it has been awaited."""

    async def later() -> int:
        return 42

    fail_once(breaker)
    time.sleep(0.02)
    unfinished = way(breaker, lambda: later())
    assert breaker.stats.active_probes == 1
    assert breaker.stats.successful_calls == 0
    assert asyncio.run(unfinished) == 42
    assert breaker.stats.active_probes == 0
    assert breaker.stats.successful_calls == 1
    assert breaker.is_half_open


@pytest.mark.parametrize("way", [_call, _decorated])
def test_a_timeout_counts_as_a_failure_whatever_the_exception_types(
    any_server: RunningServer, prefix: str, way: Way
) -> None:
    """A call that took longer than call_timeout says that the service hangs."""
    breaker = make_breaker(
        any_server.url,
        prefix,
        failure_threshold=1,
        call_timeout=0.05,
        exception_types=(ServiceFailed,),
    )
    with pytest.raises(TimeoutError):
        way(breaker, lambda: time.sleep(0.2))
    assert breaker.is_open


def test_a_timeout_error_of_the_call_itself_is_judged_by_exception_types(
    breaker: CircuitBreaker,
) -> None:
    """Only our own deadline counts always; what the function raises is matched as usual."""
    with pytest.raises(TimeoutError):
        breaker.call(_raiser(TimeoutError("its own")))
    assert breaker.is_closed
    assert breaker.stats.total_calls == 0
