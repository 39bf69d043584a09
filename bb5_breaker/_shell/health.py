"""Health checks: a service is asked whether it is well, so that no user's call has to find out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import CoroutineType
from typing import Final, cast

from bb5_breaker._core.commands import Outcome, Purpose
from bb5_breaker._shell.callables import UNFINISHED, CallKind, kind_of
from bb5_breaker._shell.guard import Guard
from bb5_breaker._shell.opening import LinkOpener
from bb5_breaker._shell.running import run_admitted
from bb5_breaker.exceptions import CircuitBreakerOpenError
from bb5_breaker.state import CircuitState

__all__ = ["HealthCheck", "check_health_check"]

_log = logging.getLogger("bb5_breaker")
# Before the next attempt when one settled nothing.
_PAUSE: Final = 1.0


def check_health_check(check: object) -> Callable[[], object]:
    """Return a health check when it is a plain function.

    Raises:
        TypeError: It is something else.
    """
    if not callable(check):
        raise TypeError(
            f"health_check must be a plain function without arguments, got {type(check).__name__}"
        )
    if kind_of(check) is not CallKind.PLAIN:
        raise TypeError(
            f"health_check must be a plain function, got {check!r}, which does its work only when "
            "awaited or iterated; give a plain function that asks the service and returns"
        )
    return cast(Callable[[], object], check)


class HealthCheck:
    """One breaker's health check, guarded as its calls are.

    Args:
        work: Asks the service; raises when it is not well.
        guard: Of the same circuit, on its own.
        opener: Where the circuit lives.
    """

    __slots__ = ("_complained", "_guard", "_opener", "_work")

    def __init__(self, work: Callable[[], object], guard: Guard, opener: LinkOpener) -> None:
        self._work = work
        self._guard = guard
        self._opener = opener
        self._complained = False

    def run(self) -> float | None:
        """Check until the circuit is closed or open, or while there is a place for it.

        Returns:
            Seconds after which another attempt may be worth while, if nothing is heard of the
            circuit before; None when it is closed.
        """
        while True:
            try:
                leave = self._guard.ask(Purpose.HEALTH_CHECK)
            except CircuitBreakerOpenError as rejection:
                is_taken = rejection.state is CircuitState.HALF_OPEN
                return rejection.remaining_time if is_taken else _PAUSE
            if leave.token is None:
                # What stands in for a store that is away does not know.
                service = self._guard.circuit.service
                return None if self._opener.link().trouble.is_well(service) else _PAUSE
            try:
                run_admitted(self._guard, leave, self._ask_service, (), {})
            except BaseException as error:
                self._note(error)
                return _PAUSE

    def _ask_service(self) -> None:
        result = self._work()
        if type(result) in UNFINISHED:
            if isinstance(result, CoroutineType):
                result.close()
            raise TypeError(
                f"health_check must do its work before it returns, got a {type(result).__name__}"
            )

    def _note(self, error: BaseException) -> None:
        if self._guard.judge(error) is Outcome.NEUTRAL and not self._complained:
            self._complained = True
            _log.warning(
                "the health check of '%s' raised %s, which counts as nothing: the circuit stays "
                "half-open; correct exception_types or the check",
                self._guard.circuit.service,
                type(error).__name__,
            )
