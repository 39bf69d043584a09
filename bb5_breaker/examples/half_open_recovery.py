"""Example 5: how a circuit finds out that its service is well again."""

from __future__ import annotations

from bb5_breaker import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpenError,
    CircuitState,
)
from bb5_breaker.examples.stage import await_state, check, forgetting, say, unique_name

__all__ = ["half_open_recovery"]


def half_open_recovery() -> None:
    """After the open period a few probes decide: one failure opens, enough successes close."""
    rules = CircuitBreakerConfig(
        failure_threshold=1,
        timeout_seconds=1.0,  # short, for the example; think of a minute
        success_threshold=2,
        half_open_max_calls=1,
        reset_timeout=0.0,  # a failed probe does not prolong the next open period
    )
    breaker = CircuitBreaker(unique_name("recovering"), rules)
    with forgetting(breaker):
        breaker.call_result(_fail)
        check(breaker.is_open, "a failure opened the circuit")

        await_state(breaker, CircuitState.HALF_OPEN)
        say("the open period is over: probes are let through, one at a time")
        breaker.call_result(_fail)
        check(breaker.is_open, "a failed probe opens it again")

        await_state(breaker, CircuitState.HALF_OPEN)
        breaker.call(_watch_another_call, breaker)
        check(breaker.is_half_open, "one good probe of two leaves it half-open")
        breaker.call(str, "well again")
        check(breaker.is_closed, "the second good probe closes it")
        check(breaker.stats.current_failures == 0, "and the failures are forgotten")


def _fail() -> None:
    raise ConnectionError("still starting")


def _watch_another_call(breaker: CircuitBreaker) -> None:
    """A probe, during which another caller tries its luck."""
    try:
        breaker.call(str, "me too")
    except CircuitBreakerOpenError as rejection:
        check(rejection.state is CircuitState.HALF_OPEN, f"a second probe must wait: {rejection}")
    else:
        check(False, "a second probe must wait")
