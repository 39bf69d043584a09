"""Example 7: calls that hang."""

from __future__ import annotations

import threading
import time

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig
from bb5_breaker.examples.stage import check, forgetting, say, unique_name

__all__ = ["timeout_handling"]


def timeout_handling() -> None:
    """A call that takes too long ends in TimeoutError, on any thread, and counts as a failure."""
    rules = CircuitBreakerConfig(failure_threshold=2, call_timeout=0.2)
    breaker = CircuitBreaker(unique_name("slow"), rules)
    answered = threading.Event()
    with forgetting(breaker):
        begun = time.perf_counter()
        outcome = breaker.call_result(answered.wait, 30)
        waited = time.perf_counter() - begun
        check(isinstance(outcome.exception, TimeoutError), f"it gave up: {outcome.exception}")
        check(waited >= 0.2, f"after {waited:.2f} s")

        _call_on_another_thread(breaker, answered)
        check(breaker.stats.failed_calls == 2, "timeouts count as failures on every thread")
        check(breaker.is_open, "two of them opened the circuit")

        # Nothing can stop a blocked thread from outside: these calls still hang.
        say(f"{breaker.get_stats()['abandoned_calls']} calls were given up and still run")
        answered.set()


def _call_on_another_thread(breaker: CircuitBreaker, answered: threading.Event) -> None:
    thread = threading.Thread(target=breaker.call_result, args=(answered.wait, 30))
    thread.start()
    thread.join()
