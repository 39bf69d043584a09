"""One guarded call: get leave, here or from the store, and report how it ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar, cast

from bb5_breaker._core.commands import Command, Outcome, Purpose
from bb5_breaker._core.flows import Permit, admit_call, settle_call
from bb5_breaker._core.local_view import LocalView
from bb5_breaker._core.outcomes import classify_error, name_error
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView
from bb5_breaker._core.seen import Seen, facts_of
from bb5_breaker._core.tally import EXPIRED, Tally
from bb5_breaker._shell.announcing import Announcer
from bb5_breaker._shell.consistency import Consistency
from bb5_breaker._shell.leases import lease_keeper
from bb5_breaker._shell.link import Link
from bb5_breaker._shell.store_failure import OnStoreFailure
from bb5_breaker._store.identity import new_token
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.configuration import IN_FORCE, Settings
from bb5_breaker.exceptions import CircuitBreakerOpenError, reject

if TYPE_CHECKING:
    from bb5_breaker._shell.opening import LinkOpener

__all__ = ["Guard", "Leave"]

R = TypeVar("R")
Leave = Permit | Tally
# Counting without a lock is exact only where one thread at a time runs Python code; elsewhere
# every call asks.
_CAN_COUNT: Final = getattr(sys, "_is_gil_enabled", lambda: True)()
_NOWHERE: Final = Tally.nowhere()


class Guard:
    """Admits calls of one circuit and settles them. Thread-safe; holds no lock while they run.

    What runs a call looks at :attr:`tally` first: while its lease holds, the call may run on it
    without coming here, and a success is counted by adding one; see ``running.py``.

    Args:
        circuit: The service and its rules.
        config: The configuration they come from.
        announcer: Told of the transitions that a command brought.
        opener: Where the circuit lives.
        consistency: Whether calls go by what is known here; None for the process's setting.
        on_failure: What they get while the store does not answer; None likewise.
    """

    __slots__ = (
        "_announcer",
        "_config",
        "_consistency",
        "_longest",
        "_on_failure",
        "_opener",
        "_service",
        "_settings",
        "_view",
        "call_timeout",
        "circuit",
        "tally",
    )

    def __init__(
        self,
        circuit: Circuit,
        config: CircuitBreakerConfig,
        announcer: Announcer,
        opener: LinkOpener,
        consistency: Consistency | None,
        on_failure: OnStoreFailure | None,
    ) -> None:
        self.circuit = circuit
        self.call_timeout = config.call_timeout or None
        self.tally = _NOWHERE
        self._config = config
        self._announcer = announcer
        self._opener = opener
        self._service = circuit.service
        self._consistency = consistency
        self._on_failure = on_failure
        self._view: LocalView | None = None
        # Those by which the view was found.
        self._settings: Settings | None = None
        # A probe that runs for longer has hung; its place goes to another.
        self._longest = max(10 * config.probe_lease, 2 * (self.call_timeout or 0.0))

    @property
    def on_failure(self) -> OnStoreFailure:
        """What calls get while the store does not answer."""
        return self._on_failure or IN_FORCE.settings.on_store_failure

    @property
    def is_ready(self) -> bool:
        """True when :meth:`decide` decides at once; the store may have to be opened first."""
        return IN_FORCE.settings is self._settings or self._opener.is_open

    def admit(self) -> Leave:
        """Return the leave to run a call.

        Raises:
            CircuitBreakerOpenError: The circuit is open, or half-open with every place taken.
        """
        known = self.decide()
        if isinstance(known, Seen):
            raise self.reject(known)
        return known if known is not None else self.ask()

    def decide(self) -> Tally | Seen | None:
        """Return what is known here: leave to run, the state that rejects, or None: ask."""
        view = self._view if IN_FORCE.settings is self._settings else self._find_view()
        if view is None:
            return None
        known = view.decide(monotonic())
        return self._take_up(view, known) if type(known) is Tally else known

    def reject(self, seen: Seen) -> CircuitBreakerOpenError:
        """Return the error of a call that is rejected here, and count it.

        To be raised as it is returned: held in a variable of the frame that raises it, it would
        hold itself, by its traceback, and be left to the collector.
        """
        view = self._view
        if view is not None:
            view.rejected = rejected = view.rejected + 1
            if rejected >= view.rejected_mark:
                _home(view).flusher.attend(view)
        remaining = seen.ends_at - monotonic()
        return reject(self._service, seen.facts, remaining if remaining > 0.0 else 0.0)

    def ask(self, purpose: Purpose = Purpose.CALL) -> Leave:
        """Return the leave that the store gives.

        Args:
            purpose: What the call is for.

        Raises:
            CircuitBreakerOpenError: The circuit is open, or half-open with every place taken.
            StoreError: The store does not answer, and calls are to be told so.
        """
        link = self._opener.link()
        flow = admit_call(self.circuit, new_token(), link, purpose)
        # A health check is nobody's call: it is to find out, not to be spared.
        rule = self.on_failure if purpose is Purpose.CALL else OnStoreFailure.LOCAL
        admission = _drive(flow, partial(rule.admit, link))
        told = admission.told
        if told.moved_from is not None:
            self._announcer.tell(told)
        # Whatever the answer: the next call may be decided here.
        link.listen()
        permit = admission.permit
        if permit is None:
            waiting = max(0, told.until_ms - told.now_ms) / 1000
            raise reject(self._service, facts_of(told), waiting)
        if permit.token is not None:
            lease_keeper().hold(link, self.circuit, permit, self._longest)
            return permit
        # With that answer the view may be good again: then a success need not be reported now.
        known = self.decide()
        return known if type(known) is Tally else permit

    def succeed(self, leave: Leave) -> None:
        """Report that an admitted call returned."""
        if type(leave) is Tally:
            leave.count += 1
            leave.last = monotonic()
            if leave.count >= leave.mark:
                self.attend(leave)
        else:
            self.settle(leave, Outcome.SUCCESS, "")

    def attend(self, tally: Tally) -> None:
        """Have what gathered on a tally reported soon."""
        view = tally.view
        if view is not None:
            _home(view).flusher.attend(view)

    def fail(self, leave: Leave, error: BaseException) -> None:
        """Report that an admitted call raised; what that means is the configuration's."""
        self.settle(leave, self.judge(error), name_error(error))

    def expire(self, leave: Leave, error: TimeoutError) -> None:
        """Report that an admitted call took longer than its call_timeout."""
        self.settle(leave, Outcome.FAILURE, name_error(error))

    def release(self, leave: Leave) -> None:
        """Give up an admitted call that says nothing about the service."""
        self.settle(leave, Outcome.NEUTRAL, "")

    def judge(self, error: BaseException) -> Outcome:
        """Return what an error says about the service."""
        return classify_error(error, self._config.exception_types)

    def settle(self, leave: Leave, outcome: Outcome, error: str) -> None:
        """Report how an admitted call ended, before this returns."""
        if isinstance(leave, Tally):
            view = leave.view
            # Of a state that is over nothing counts; no need to ask.
            if outcome is Outcome.NEUTRAL or leave.retired or view is None:
                return
            link = _home(view)
            with link.flusher.begin_report():
                pending = link.board.take_from(leave)
                told = _drive(settle_call(self.circuit, leave, outcome, error, pending), link.view)
        else:
            link = cast(Link, leave.origin)
            if leave.token is not None:
                lease_keeper().drop(leave)
            told = _drive(settle_call(self.circuit, leave, outcome, error), link.view)
        if told is not None and told.moved_from is not None:
            self._announcer.tell(told)

    def flush(self) -> None:
        """Report all that gathered for this circuit in this process.

        Raises:
            StoreError: The store can not be reached.
        """
        view = self._view
        if view is not None:
            _home(view).flusher.flush([view])

    def _find_view(self) -> LocalView | None:
        """Return what is known here; None where calls are to ask each time."""
        settings, link = self._opener.open()
        consistency = self._consistency or settings.consistency
        if consistency is Consistency.STRICT or not _CAN_COUNT:
            self._view = None
        else:
            self._view = link.view_of(self.circuit)
        self._settings = settings
        return self._view

    def _take_up(self, view: LocalView, tally: Tally) -> Tally:
        self.tally = tally
        if tally.lease is EXPIRED:
            _home(view).board.arm(view)
            # Configured anew in this moment, the process has another home for its calls.
            if IN_FORCE.settings is not self._settings:
                tally.lease = EXPIRED
        return tally


def _drive(
    flow: Generator[Command, CircuitView, R], carry_out: Callable[[Command], CircuitView]
) -> R:
    try:
        command = next(flow)
        while True:
            command = flow.send(carry_out(command))
    except StopIteration as stop:
        result: R = stop.value
        return result


def _home(view: LocalView) -> Link:
    return cast(Link, view.origin)
