"""The rules of one circuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bb5_breaker.checks import check_seconds, check_whole

__all__ = ["CircuitBreakerConfig"]

_WEEK: Final = 7 * 86_400.0
_MOST: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class CircuitBreakerConfig:
    """Rules of a circuit; every process of the fleet should use the same for one service.

    Args:
        failure_threshold: Consecutive failures of the whole fleet that open the circuit, 1 to
            1,000,000.
        timeout_seconds: Open period in seconds, 0 to one week; afterwards probes are let through.
        success_threshold: Successful probes that close a half-open circuit, 1 to 1,000,000.
        call_timeout: Longest time for one call in seconds, up to one week; 0 or None turns it off.
        half_open_max_calls: Probes that may run at the same time in the whole fleet, 1 to
            1,000,000.
        reset_timeout: Least time in seconds between two entries into half-open, 0 to one week. It
            never delays the first entry after a trip.
        sliding_window_size: Number of calls over which the rates are taken, 1 to 100,000.
        exception_types: Exception classes that count as failures; others are re-raised and count
            as nothing. ``BaseException`` and classes outside ``Exception`` are refused: an
            interrupt or a cancelled call says nothing about the service.
        probe_lease: Seconds, 0.1 to 3600, after which the place of a probe whose process died is
            given to another. It is renewed while the call runs.

    Raises:
        ValueError: A field is of the wrong type or out of bounds; the message names both.
    """

    failure_threshold: int = 5
    timeout_seconds: float = 60.0
    success_threshold: int = 2
    call_timeout: float | None = 30.0
    half_open_max_calls: int = 1
    reset_timeout: float = 10.0
    sliding_window_size: int = 100
    exception_types: tuple[type[Exception], ...] = (Exception,)
    probe_lease: float = 10.0

    def __post_init__(self) -> None:
        for field in ("failure_threshold", "success_threshold", "half_open_max_calls"):
            check_whole(field, getattr(self, field), 1, _MOST)
        check_whole("sliding_window_size", self.sliding_window_size, 1, 100_000)
        for field in ("timeout_seconds", "reset_timeout"):
            self._keep(field, check_seconds(field, getattr(self, field), 0.0, _WEEK))
        if self.call_timeout is not None:
            self._keep("call_timeout", check_seconds("call_timeout", self.call_timeout, 0.0, _WEEK))
        self._keep("probe_lease", check_seconds("probe_lease", self.probe_lease, 0.1, 3600.0))
        self._keep("exception_types", _check_exception_types(self.exception_types))

    def _keep(self, field: str, value: Any) -> None:
        object.__setattr__(self, field, value)

    def to_dict(self) -> dict[str, Any]:
        """Return the numeric fields by name, in the order of the constructor."""
        return {
            "failure_threshold": self.failure_threshold,
            "timeout_seconds": self.timeout_seconds,
            "success_threshold": self.success_threshold,
            "call_timeout": self.call_timeout,
            "half_open_max_calls": self.half_open_max_calls,
            "reset_timeout": self.reset_timeout,
            "sliding_window_size": self.sliding_window_size,
            "probe_lease": self.probe_lease,
        }


def _check_exception_types(given: object) -> tuple[type[Exception], ...]:
    kinds = given if isinstance(given, tuple) else (given,)
    if isinstance(given, list | set | frozenset):
        kinds = tuple(given)
    if not kinds:
        raise ValueError(
            "exception_types must name at least one Exception class; "
            "with none the circuit could never open"
        )
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ValueError(
                f"exception_types must be a tuple of classes derived from Exception, got {kind!r}"
            )
    return kinds
