"""States, rules, figures and results under the module name of the specification."""

from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.presets import CircuitBreakerPresets
from bb5_breaker.result import CallResult
from bb5_breaker.state import CircuitState
from bb5_breaker.stats import CircuitBreakerStats

__all__ = [
    "CallResult",
    "CircuitBreakerConfig",
    "CircuitBreakerPresets",
    "CircuitBreakerStats",
    "CircuitState",
]
