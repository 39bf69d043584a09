"""Example 3: rules that fit the service."""

from __future__ import annotations

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerPresets
from bb5_breaker.examples.stage import check, forgetting, say, unique_name

__all__ = ["custom_configuration"]


def custom_configuration() -> None:
    """Presets, rules of your own, and which errors count."""
    for name in ("default", "strict", "lenient", "fast_recovery"):
        preset: CircuitBreakerConfig = getattr(CircuitBreakerPresets, name)()
        say(
            f"{name}: opens after {preset.failure_threshold} failures "
            f"for {preset.timeout_seconds:g} s"
        )
    rules = CircuitBreakerConfig(
        failure_threshold=2,
        call_timeout=None,  # no time limit; the call runs on your own thread
        exception_types=(OSError,),  # a bad request is not the service's fault
    )
    breaker = CircuitBreaker(unique_name("search"), rules)
    with forgetting(breaker):
        for _ in range(5):
            breaker.call_result(_search, "")
        check(breaker.is_closed, "five ValueErrors do not count: only an OSError does")
        for _ in range(2):
            breaker.call_result(_search, "fuses")
        check(breaker.is_open, "two OSErrors open the circuit")
    _show_refusal()


def _search(query: str) -> str:
    if not query:
        raise ValueError("the query is empty")
    raise OSError("the index can not be read")


def _show_refusal() -> None:
    try:
        CircuitBreakerConfig(failure_threshold=0)
    except ValueError as error:
        check("failure_threshold" in str(error), f"bad rules are refused: {error}")
    else:
        check(False, "bad rules are refused")
