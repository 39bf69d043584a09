"""From what is stored to the figures that users see."""

from __future__ import annotations

from collections.abc import Callable

from bb5_breaker._core.replies import CircuitSnapshot
from bb5_breaker._shell.announcing import moment
from bb5_breaker.stats import CircuitBreakerStats

__all__ = ["stats_of"]


def stats_of(
    snapshot: CircuitSnapshot, on_reset: Callable[[], None] | None = None
) -> CircuitBreakerStats:
    """Return the statistics in a snapshot.

    Args:
        snapshot: The circuit as stored.
        on_reset: What ``reset()`` of the statistics shall call; None for nothing.
    """
    return CircuitBreakerStats(
        total_calls=snapshot.total_successes + snapshot.total_failures,
        successful_calls=snapshot.total_successes,
        failed_calls=snapshot.total_failures,
        current_failures=snapshot.failures,
        last_failure_time=moment(snapshot.last_failure_ms),
        last_success_time=moment(snapshot.last_success_ms),
        state_transitions=snapshot.transitions,
        opened_at=moment(snapshot.opened_ms),
        current_state=snapshot.effective_state,
        rejection_count=snapshot.rejections,
        window_calls=snapshot.window_calls,
        window_failures=snapshot.window_failures,
        generation=snapshot.generation,
        active_probes=snapshot.active_probes,
        as_of=moment(snapshot.now_ms),
        on_reset=on_reset,
    )
