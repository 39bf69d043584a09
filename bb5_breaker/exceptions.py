"""All errors of the package; every one is a :class:`BlackBoxError`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bb5_breaker.state import CircuitState

__all__ = [
    "BlackBoxError",
    "CircuitBreakerOpenError",
    "EmbeddedServerError",
    "EventBusError",
    "RedisConnectionError",
    "RedisPubSubError",
    "StoreDataError",
    "StoreError",
    "StorePermissionError",
    "StoreUnavailableError",
    "StoreVersionError",
]


class BlackBoxError(Exception):
    """Base of all errors of this package.

    Args:
        message: What is wrong, where, and what to change.
        error_code: Stable name for machines; None gives the class's own.
        details: Further facts for machines; None gives an empty dict.
    """

    default_code = "BLACKBOX_ERROR"

    def __init__(
        self,
        message: str,
        error_code: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code if error_code is not None else self.default_code
        self.details = dict(details) if details is not None else {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())

    def to_dict(self) -> dict[str, Any]:
        """Return the error as a dict: error (class name), error_code, message, details."""
        return {
            "error": type(self).__name__,
            "error_code": self.error_code,
            "message": self.message,
            "details": dict(self.details),
        }


def _rebuild(kind: type[BlackBoxError], args: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Make an error again from its pickle, whatever its constructor takes."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class CircuitBreakerOpenError(BlackBoxError):
    """A call was rejected: the circuit is open, or half-open with every place taken.

    Args:
        service: Service id of the circuit.
        state: State that rejected the call, OPEN or HALF_OPEN.
        remaining_time: Seconds (float, at least 0) until a call may be let through: to the end
            of the open period, or to the end of the probe lease that ends first.
        retry_at: That moment as an aware UTC datetime on the server's clock.
        failure_count: The fleet's consecutive failures.
        last_error: Class name of the last counted error; None when unknown.
    """

    default_code = "CIRCUIT_OPEN"

    def __init__(
        self,
        service: str,
        state: CircuitState = CircuitState.OPEN,
        remaining_time: float = 0.0,
        retry_at: datetime | None = None,
        failure_count: int = 0,
        last_error: str | None = None,
    ) -> None:
        details = {
            "service": service,
            "remaining_seconds": remaining_time,
            "failure_count": failure_count,
        }
        super().__init__(
            _explain_rejection(service, state, remaining_time, failure_count, last_error),
            details=details,
        )
        self.service = service
        self.state = state
        self.remaining_time = remaining_time
        self.retry_at = retry_at
        self.failure_count = failure_count
        self.last_error = last_error


def _explain_rejection(
    service: str, state: CircuitState, remaining: float, failures: int, last_error: str | None
) -> str:
    cause = f"{failures} consecutive failures"
    if last_error:
        cause += f", the last a {last_error}"
    if state is CircuitState.HALF_OPEN:
        return (
            f"circuit '{service}' is half-open and every probe place is taken "
            f"(after {cause}); one is free in at most {remaining:.1f} s"
        )
    return f"circuit '{service}' is open after {cause}; next attempt in {remaining:.1f} s"


class StoreError(BlackBoxError):
    """The shared store could not do what was asked."""

    default_code = "STORE_ERROR"


class StoreUnavailableError(StoreError):
    """The store did not answer: unreachable, too slow, or refusing connections."""

    default_code = "STORE_UNAVAILABLE"


class StorePermissionError(StoreError):
    """The store refused the user's name, password or rights."""

    default_code = "STORE_PERMISSION"


class StoreVersionError(StoreError):
    """The server is older than the oldest that is supported."""

    default_code = "STORE_VERSION"


class StoreDataError(StoreError):
    """A key under the breaker's names holds something foreign."""

    default_code = "STORE_DATA"


class EmbeddedServerError(StoreError):
    """The embedded server could not be started, found or stopped."""

    default_code = "EMBEDDED_SERVER"


class EventBusError(BlackBoxError):
    """The event bus could not do what was asked."""

    default_code = "EVENT_BUS_ERROR"


class RedisConnectionError(EventBusError):
    """The event bus could not connect to Redis."""

    default_code = "REDIS_CONNECTION"


class RedisPubSubError(EventBusError):
    """Redis refused to subscribe or to publish."""

    default_code = "REDIS_PUBSUB"
