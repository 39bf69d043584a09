"""Statistics of one circuit at one moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bb5_breaker.state import CircuitState

__all__ = ["CircuitBreakerStats"]


@dataclass(frozen=True, slots=True)
class CircuitBreakerStats:
    """Figures of the whole fleet for one service, as the store held them at ``as_of``.

    Args:
        total_calls: Calls that ended in success or failure since the circuit was made.
        successful_calls: Those that succeeded.
        failed_calls: Those that failed.
        current_failures: Consecutive failures, as compared with ``failure_threshold``.
        last_failure_time: Last counted failure, UTC; None without one.
        last_success_time: Last counted success, UTC; None without one.
        state_transitions: Changes of state.
        opened_at: When the circuit last opened, UTC; None while closed.
        current_state: State of the circuit.
        rejection_count: Calls not let through.
        window_calls: Calls in the sliding window.
        window_failures: Failures among them.
        generation: Number of the present state; grows with every transition.
        active_probes: Probes running now in the whole fleet.
        as_of: Server time of these figures, UTC; None when nothing was read.
        on_reset: What :meth:`reset` calls; set by the breaker.
    """

    total_calls: int = 0
    successful_calls: int = 0
    failed_calls: int = 0
    current_failures: int = 0
    last_failure_time: datetime | None = None
    last_success_time: datetime | None = None
    state_transitions: int = 0
    opened_at: datetime | None = None
    current_state: CircuitState = CircuitState.CLOSED
    rejection_count: int = 0
    window_calls: int = 0
    window_failures: int = 0
    generation: int = 0
    active_probes: int = 0
    as_of: datetime | None = None
    on_reset: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    @property
    def success_rate(self) -> float:
        """Share of successes in the sliding window, 0.0 to 1.0; 1.0 when it is empty."""
        return 1.0 - self.failure_rate

    @property
    def failure_rate(self) -> float:
        """Share of failures in the sliding window, 0.0 to 1.0; 0.0 when it is empty."""
        return self.window_failures / self.window_calls if self.window_calls else 0.0

    @property
    def time_since_last_failure(self) -> float | None:
        """Seconds from the last failure to ``as_of``; None without a failure."""
        return self._since(self.last_failure_time)

    @property
    def time_since_opened(self) -> float | None:
        """Seconds from the opening to ``as_of``; None while closed."""
        return self._since(self.opened_at)

    def _since(self, moment: datetime | None) -> float | None:
        if moment is None:
            return None
        now = self.as_of if self.as_of is not None else datetime.now(UTC)
        return max(0.0, (now - moment).total_seconds())

    def reset(self) -> None:
        """Start the fleet's statistics of this circuit anew; its state stays.

        Raises:
            RuntimeError: These figures do not come from a breaker.
            StoreError: The store could not do it.
        """
        if self.on_reset is None:
            raise RuntimeError("these statistics belong to no breaker; use CircuitBreaker.stats")
        self.on_reset()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by name; times as ISO text, the state by its value."""
        return {
            "total_calls": self.total_calls,
            "successful_calls": self.successful_calls,
            "failed_calls": self.failed_calls,
            "current_failures": self.current_failures,
            "success_rate": self.success_rate,
            "failure_rate": self.failure_rate,
            "last_failure_time": _iso(self.last_failure_time),
            "last_success_time": _iso(self.last_success_time),
            "state_transitions": self.state_transitions,
            "opened_at": _iso(self.opened_at),
            "current_state": self.current_state.value,
            "rejection_count": self.rejection_count,
            "time_since_last_failure": self.time_since_last_failure,
            "time_since_opened": self.time_since_opened,
            "generation": self.generation,
            "active_probes": self.active_probes,
            "window_calls": self.window_calls,
            "window_failures": self.window_failures,
        }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
