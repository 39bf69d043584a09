"""Example 10: a guarded block of code."""

from __future__ import annotations

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpenError
from bb5_breaker.examples.stage import check, forgetting, say, unique_name

__all__ = ["context_manager"]


def context_manager() -> None:
    """A with statement guards a block of code: leaving it normally is a success."""
    breaker = CircuitBreaker(unique_name("archive"), CircuitBreakerConfig(failure_threshold=2))
    with forgetting(breaker):
        with breaker.protect():
            say("in the block: all is well")
        check(breaker.stats.successful_calls == 1, "a block that ends well is a success")

        for _ in range(2):
            _fail_in_a_block(breaker)
        check(breaker.is_open, "two blocks that raised opened the circuit")

        entered = False
        try:
            with breaker.protect():
                entered = True
        except CircuitBreakerOpenError as rejection:
            say(f"not entered: {rejection}")
        check(not entered, "while the circuit is open the block is not entered")

        breaker.reset()
        with breaker.protect():
            entered = True
        check(entered and breaker.is_closed, "after a reset it is entered again")


def _fail_in_a_block(breaker: CircuitBreaker) -> None:
    try:
        with breaker.protect():
            raise OSError("disk full")
    except OSError as error:
        say(f"the block's own error comes through: {error}")
