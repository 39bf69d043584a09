"""One guarded call: ask for leave, and report how it ended."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Any, TypeVar

from bb5_breaker._core.commands import Command, Outcome
from bb5_breaker._core.flows import Permit, admit_call, settle_call
from bb5_breaker._core.outcomes import classify_error, name_error
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView
from bb5_breaker._shell.announcing import Announcer
from bb5_breaker._shell.callables import is_unfinished, refuse_unfinished
from bb5_breaker._shell.deadlines import CallExpired, call_pool
from bb5_breaker._shell.leases import lease_keeper
from bb5_breaker._shell.link import Link
from bb5_breaker._store.identity import new_token
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.exceptions import CircuitBreakerOpenError

__all__ = ["Guard", "run_admitted"]

R = TypeVar("R")
T = TypeVar("T")


class Guard:
    """Admits calls of one circuit and settles them. Thread-safe; holds no lock.

    Args:
        circuit: The service and its rules.
        config: The configuration they come from.
        announcer: Told of the transitions that a command brought.
    """

    __slots__ = ("_announcer", "_config", "_longest", "call_timeout", "circuit")

    def __init__(
        self,
        circuit: Circuit,
        config: CircuitBreakerConfig,
        announcer: Announcer,
    ) -> None:
        self.circuit = circuit
        self.call_timeout = config.call_timeout or None
        self._config = config
        self._announcer = announcer
        # A probe that runs for longer has hung; its place goes to another.
        self._longest = max(10 * config.probe_lease, 2 * (self.call_timeout or 0.0))

    def admit(self, link: Link) -> Permit:
        """Return the leave to run a call.

        Raises:
            CircuitBreakerOpenError: The circuit is open, or half-open with every place taken.
        """
        admission = self._drive(admit_call(self.circuit, new_token()), link)
        view = admission.view
        if view.moved_from is not None:
            self._announcer.tell(view)
        permit = admission.permit
        if permit is None:
            raise _rejection(self.circuit.service, view)
        if permit.token is not None:
            lease_keeper().hold(link, self.circuit, permit, self._longest)
        return permit

    def succeed(self, link: Link, permit: Permit) -> None:
        """Report that an admitted call returned."""
        self._settle(link, permit, Outcome.SUCCESS, "")

    def fail(self, link: Link, permit: Permit, error: BaseException) -> None:
        """Report that an admitted call raised; what that means is the configuration's."""
        outcome = classify_error(error, self._config.exception_types)
        self._settle(link, permit, outcome, name_error(error))

    def expire(self, link: Link, permit: Permit, error: TimeoutError) -> None:
        """Report that an admitted call took longer than its call_timeout."""
        self._settle(link, permit, Outcome.FAILURE, name_error(error))

    def release(self, link: Link, permit: Permit) -> None:
        """Give up an admitted call that says nothing about the service."""
        self._settle(link, permit, Outcome.NEUTRAL, "")

    def _settle(self, link: Link, permit: Permit, outcome: Outcome, error: str) -> None:
        if permit.token is not None:
            lease_keeper().drop(permit)
        view = self._drive(settle_call(self.circuit, permit, outcome, error), link)
        if view is not None and view.moved_from is not None:
            self._announcer.tell(view)

    def _drive(self, flow: Generator[Command, CircuitView, R], link: Link) -> R:
        try:
            command = next(flow)
            while True:
                command = flow.send(link.view(command))
        except StopIteration as stop:
            result: R = stop.value
            return result


def run_admitted(
    guard: Guard,
    link: Link,
    permit: Permit,
    func: Callable[..., T],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> T:
    """Run an admitted call and report how it ended; its result or error is the caller's."""
    try:
        if guard.call_timeout is None:
            result = func(*args, **kwargs)
        else:
            result = call_pool().run(func, guard.call_timeout, *args, **kwargs)
    except CallExpired as expired:
        # Always a failure, whatever exception_types says; and a plain TimeoutError
        # from here on, so that a breaker around this one judges it by its own.
        error = TimeoutError(*expired.args)
        guard.expire(link, permit, error)
        raise error from None
    except BaseException as error:
        guard.fail(link, permit, error)
        raise
    if is_unfinished(result):
        guard.release(link, permit)
        refuse_unfinished(result)
    guard.succeed(link, permit)
    return result


def _rejection(service: str, view: CircuitView) -> CircuitBreakerOpenError:
    until_ms = max(view.until_ms, view.now_ms)
    return CircuitBreakerOpenError(
        service,
        state=view.state,
        remaining_time=(until_ms - view.now_ms) / 1000,
        retry_at=datetime.fromtimestamp(until_ms / 1000, UTC),
        failure_count=view.failures,
        last_error=view.last_error or None,
    )
