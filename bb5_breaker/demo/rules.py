"""What the demo plays with: one service, its circuit, and the times of all."""

from __future__ import annotations

from typing import Final

from bb5_breaker.config import CircuitBreakerConfig

__all__ = ["CLIENT_TIMEOUT", "CONFIG", "PAUSE", "SERVICE", "WORKERS", "WORKER_STORE_TIMEOUT"]

SERVICE: Final = "demo.payments"
WORKERS: Final = 8
# Seconds that a worker waits for the service, and rests between two calls.
CLIENT_TIMEOUT: Final = 1.0
PAUSE: Final = 0.06
# Far above the default: a small machine that runs all of this at once is slow now and then.
WORKER_STORE_TIMEOUT: Final = 1.0
CONFIG: Final = CircuitBreakerConfig(
    failure_threshold=5,
    timeout_seconds=4.0,
    success_threshold=1,
    call_timeout=None,
    half_open_max_calls=1,
    reset_timeout=0.0,
)
