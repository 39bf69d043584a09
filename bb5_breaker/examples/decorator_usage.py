"""Example 9: a function that is always guarded."""

from __future__ import annotations

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpenError, protect
from bb5_breaker.examples.stage import check, forgetting, say, unique_name

__all__ = ["decorator_usage"]


def decorator_usage() -> None:
    """A decorator puts a breaker around a function; callers need not know."""

    @protect(unique_name("weather"), config=CircuitBreakerConfig(failure_threshold=2))
    def fetch_weather(city: str) -> str:
        """Ask the weather service."""
        if city == "Atlantis":
            raise ConnectionError("no answer from Atlantis")
        return f"sun over {city}"

    # The breaker is there when you want it.
    breaker: CircuitBreaker = fetch_weather.circuit_breaker  # type: ignore[attr-defined]
    with forgetting(breaker):
        check(fetch_weather("Oslo") == "sun over Oslo", "it is called like any function")
        check(fetch_weather.__name__ == "fetch_weather", "and keeps its name")

        for _ in range(2):
            try:
                fetch_weather("Atlantis")
            except ConnectionError as error:
                say(f"its own error comes through: {error}")
        try:
            fetch_weather("Oslo")
            rejected = False
        except CircuitBreakerOpenError as rejection:
            say(f"rejected: {rejection}")
            rejected = True
        check(rejected, "after two failures in a row it is not called any more")
