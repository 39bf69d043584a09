"""All errors of the package; every one is a :class:`BlackBoxError`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

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
    "StoreRefusedError",
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


@dataclass(frozen=True, slots=True)
class RejectionFacts:
    """What a rejection tells besides its own moment; shared by all rejections of a state.

    Args:
        state: State that rejects.
        failure_count: The fleet's consecutive failures.
        last_error: Class name of the last counted error; None when unknown.
        retry_ms: When a call may be let through, in ms on the server's clock; 0 when unknown.
    """

    state: CircuitState
    failure_count: int
    last_error: str | None
    retry_ms: int


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

    default_code = error_code = "CIRCUIT_OPEN"
    retry_at: datetime | None

    def __init__(
        self,
        service: str,
        state: CircuitState = CircuitState.OPEN,
        remaining_time: float = 0.0,
        retry_at: datetime | None = None,
        failure_count: int = 0,
        last_error: str | None = None,
    ) -> None:
        facts = RejectionFacts(state, failure_count, last_error, 0)
        Exception.__init__(self, service, facts, remaining_time)
        self.retry_at = retry_at

    def __getattr__(self, name: str) -> Any:
        # Made when first asked for: most rejections are only caught.
        make = _MADE_LATER.get(name)
        if make is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = self.__dict__[name] = make(self)
        return value

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r})"

    @property
    def service(self) -> str:
        """Service id of the circuit."""
        return self.args[0]  # type: ignore[no-any-return]

    @property
    def remaining_time(self) -> float:
        """Seconds until a call may be let through."""
        return self.args[2]  # type: ignore[no-any-return]

    @property
    def state(self) -> CircuitState:
        """State that rejected the call."""
        return self._facts.state

    @property
    def failure_count(self) -> int:
        """The fleet's consecutive failures."""
        return self._facts.failure_count

    @property
    def last_error(self) -> str | None:
        """Class name of the last counted error; None when unknown."""
        return self._facts.last_error

    @property
    def _facts(self) -> RejectionFacts:
        return self.args[1]  # type: ignore[no-any-return]


def reject(service: str, facts: RejectionFacts, remaining_time: float) -> CircuitBreakerOpenError:
    """Return the error of one rejection; as cheap as can be, for it may be made on each call.

    Args:
        service: Service id of the circuit.
        facts: What is told by all rejections of that state.
        remaining_time: Seconds until a call may be let through.
    """
    return _make_bare(CircuitBreakerOpenError, service, facts, remaining_time)


# Keeps the arguments and runs no constructor written in Python.
_make_bare: Final = CircuitBreakerOpenError.__new__


def _retry_at(error: CircuitBreakerOpenError) -> datetime | None:
    retry_ms = error._facts.retry_ms
    return datetime.fromtimestamp(retry_ms / 1000, UTC) if retry_ms else None


def _rejection_details(error: CircuitBreakerOpenError) -> dict[str, Any]:
    return {
        "service": error.service,
        "remaining_seconds": error.remaining_time,
        "failure_count": error.failure_count,
    }


def _explain_rejection(error: CircuitBreakerOpenError) -> str:
    service, remaining = error.service, error.remaining_time
    cause = f"{error.failure_count} consecutive failures"
    if error.last_error:
        cause += f", the last a {error.last_error}"
    if error.state is CircuitState.HALF_OPEN:
        return (
            f"circuit '{service}' is half-open and every probe place is taken "
            f"(after {cause}); one is free in at most {remaining:.1f} s"
        )
    return f"circuit '{service}' is open after {cause}; next attempt in {remaining:.1f} s"


_MADE_LATER: Final[dict[str, Callable[[CircuitBreakerOpenError], Any]]] = {
    "details": _rejection_details,
    "message": _explain_rejection,
    "retry_at": _retry_at,
}


class StoreError(BlackBoxError):
    """The shared store could not do what was asked.

    Attributes:
        is_silent: True when it gave no answer: then nobody knows whether it was carried out, and
            to try again may cost a time-out.
    """

    default_code = "STORE_ERROR"
    is_silent: bool = False


class StoreUnavailableError(StoreError):
    """The store did not answer: unreachable, too slow, or refusing connections."""

    default_code = "STORE_UNAVAILABLE"
    is_silent = True


class StoreRefusedError(StoreUnavailableError):
    """The store answered that it can not serve now: loading, out of memory, a read-only replica,
    a script that runs for too long, a part of a Cluster that is down."""

    default_code = "STORE_REFUSED"
    is_silent = False


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
