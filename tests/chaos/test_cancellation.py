"""Tasks that are cancelled while a reply comes in, byte by byte."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpenError, configure
from tests.support.loops import Run
from tests.support.proxy import Proxy
from tests.support.workers_circuit import fail_once

_ROUNDS = 30
_PAUSE = 0.0002


async def _answer() -> int:
    return 42


async def _ask(breaker: CircuitBreaker) -> Any:
    try:
        return await breaker.call(_answer)
    except CircuitBreakerOpenError as rejected:
        return str(rejected).split()[1]


def test_a_reply_that_was_cut_short_is_never_taken_for_the_next(
    proxy: Proxy, prefix: str, run: Run
) -> None:
    """The open circuit rejects and the closed one lets through, whatever was cancelled when."""
    configure(proxy.url, prefix=prefix, store_timeout=5.0, consistency="strict")
    rules = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=600.0, call_timeout=None)
    opened, closed = CircuitBreaker("opened", rules), CircuitBreaker("closed", rules)
    fail_once(opened)
    closed.call(int)
    before = closed.get_stats()["total_calls"]
    chance = random.Random(11)
    finished: list[Any] = []
    cancelled: list[BaseException] = []

    async def rounds() -> None:
        for _ in range(_ROUNDS):
            tasks = [asyncio.create_task(_ask(one)) for one in (opened, closed) * 2]
            await asyncio.sleep(chance.uniform(0.0, 0.025))
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                (cancelled if isinstance(ended, BaseException) else finished).append(ended)
            assert await asyncio.gather(_ask(closed), _ask(opened)) == [42, "'opened'"]

    proxy.calls.trickle(_PAUSE)
    run(rounds())
    proxy.calls.trickle(0.0)
    assert len(cancelled) > _ROUNDS / 2, "nothing was cancelled in time"
    assert {type(error) for error in cancelled} == {asyncio.CancelledError}
    assert set(finished) <= {42, "'opened'"}
    # Each call that came to its end is counted once, and no other.
    assert closed.get_stats()["total_calls"] >= before + _ROUNDS
    assert opened.get_stats()["total_calls"] == 1
    assert proxy.connects < 40


def test_the_documented_number_of_connections_is_kept(proxy: Proxy, prefix: str, run: Run) -> None:
    """Cancelling does not use connections up, nor open new ones for each task."""
    configure(proxy.url, prefix=prefix, store_timeout=5.0, consistency="strict")
    breaker = CircuitBreaker("svc", CircuitBreakerConfig(call_timeout=None))

    async def hasty() -> None:
        for _ in range(20):
            tasks = [asyncio.create_task(_ask(breaker)) for _ in range(50)]
            await asyncio.sleep(0.002)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await _ask(breaker) == 42

    run(hasty())
    assert proxy.calls.count <= 20


pytestmark = pytest.mark.timeout(60)
