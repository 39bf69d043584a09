"""What the scripts need to know of a circuit and its rules, in the units of the wire."""

from __future__ import annotations

from dataclasses import dataclass

from bb5_breaker.config import CircuitBreakerConfig

__all__ = ["Circuit", "Policy", "StoreRules"]


@dataclass(frozen=True, slots=True)
class StoreRules:
    """Rules that hold for all circuits of one store.

    Args:
        prefix: Beginning of the names of keys and channels.
        idle_ms: Milliseconds after which an unused circuit may expire.
        history: Number of transitions kept in each circuit's stream.
        history_ms: Milliseconds for which they are kept.
        event_format: "msgpack" or "json".
    """

    prefix: str = "circuit_breaker"
    idle_ms: int = 86_400_000
    history: int = 256
    history_ms: int = 604_800_000
    event_format: str = "msgpack"


@dataclass(frozen=True, slots=True)
class Policy:
    """A configuration in whole numbers and milliseconds."""

    failure_threshold: int
    timeout_ms: int
    success_threshold: int
    half_open_max_calls: int
    reset_timeout_ms: int
    sliding_window_size: int
    lease_ms: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Circuit:
    """A service with its rules: what every command is about; compared by identity."""

    service: str
    policy: Policy

    @staticmethod
    def of(service: str, config: CircuitBreakerConfig) -> Circuit:
        """Return the circuit of a checked service id and configuration."""
        return Circuit(
            service,
            Policy(
                failure_threshold=config.failure_threshold,
                timeout_ms=_milliseconds(config.timeout_seconds),
                success_threshold=config.success_threshold,
                half_open_max_calls=config.half_open_max_calls,
                reset_timeout_ms=_milliseconds(config.reset_timeout),
                sliding_window_size=config.sliding_window_size,
                lease_ms=_milliseconds(config.probe_lease),
            ),
        )


def _milliseconds(seconds: float) -> int:
    # A positive time never becomes none.
    return max(1, round(seconds * 1000)) if seconds > 0 else 0
