"""The breaker, its manager and its shortcuts under the module name of the specification."""

from bb5_breaker.breaker import CircuitBreaker
from bb5_breaker.exceptions import CircuitBreakerOpenError
from bb5_breaker.manager import (
    CircuitBreakerManager,
    for_agent,
    get_circuit_breaker_manager,
    protect,
)

__all__ = [
    "CircuitBreaker",
    "CircuitBreakerManager",
    "CircuitBreakerOpenError",
    "for_agent",
    "get_circuit_breaker_manager",
    "protect",
]
