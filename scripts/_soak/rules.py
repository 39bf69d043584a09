"""The rules that all processes of a soak go by."""

from __future__ import annotations

from typing import Any

from bb5_breaker import CircuitBreakerConfig

__all__ = ["HEARTBEAT", "LEASE", "PLACES", "SERVICES", "SETTINGS", "rules_of"]

LEASE = 0.6
HEARTBEAT = 0.2
SETTINGS: dict[str, Any] = {
    "store_timeout": 0.2,
    "store_retry_interval": 0.2,
    "heartbeat_interval": HEARTBEAT,
    "flush_interval": 0.05,
}
# Probes that each circuit allows at once.
PLACES = {"orders": 1, "search": 2, "mail": 3}
SERVICES = tuple(PLACES)


def rules_of(service: str) -> CircuitBreakerConfig:
    """Return the configuration of a circuit."""
    return CircuitBreakerConfig(
        failure_threshold=4,
        timeout_seconds=0.6 + 0.4 * PLACES[service],
        reset_timeout=0.0,
        success_threshold=3,
        half_open_max_calls=PLACES[service],
        probe_lease=LEASE,
        call_timeout=None,
    )
