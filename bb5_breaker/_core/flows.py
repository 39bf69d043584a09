"""The life of a call as generators that yield commands and receive replies.

The shells drive them, blocking or awaiting; what is decided stands here once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from bb5_breaker._core.commands import Admit, Command, Outcome, Purpose, Record, Run, Settle
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView, Verdict
from bb5_breaker._core.tally import Pending, Tally
from bb5_breaker.state import CircuitState

__all__ = ["Admission", "Flow", "Permit", "admit_call", "settle_call"]

Flow = Generator[Command, CircuitView, CircuitView | None]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Permit:
    """Leave to run one call, bound to the generation that gave it.

    Args:
        state: State that admitted the call, CLOSED or HALF_OPEN.
        generation: Number of that state.
        epoch: Life of the circuit that admitted it.
        token: Name of the leased place; None for a call that is no probe.
        origin: Where its end is to be reported; only kept.
    """

    state: CircuitState
    generation: int
    epoch: str
    token: str | None
    origin: object = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a call: a permit, or None when it was rejected; and what was told."""

    permit: Permit | None
    told: CircuitView


def admit_call(
    circuit: Circuit, token: str, origin: object = None, purpose: Purpose = Purpose.CALL
) -> Generator[Command, CircuitView, Admission]:
    """Ask for leave to run a call.

    Args:
        circuit: The service and its rules.
        token: Unique name of the attempt, for the place it may get in half-open.
        origin: Kept in the permit.
        purpose: What the call is for.

    Returns:
        The admission.
    """
    told = yield Admit(circuit, token, purpose)
    if told.verdict is Verdict.REJECT:
        return Admission(None, told)
    held = token if told.verdict is Verdict.PROBE else None
    return Admission(Permit(told.state, told.generation, told.epoch, held, origin), told)


def settle_call(
    circuit: Circuit,
    permit: Permit | Tally,
    outcome: Outcome,
    error: str,
    pending: Pending | None = None,
) -> Flow:
    """Report how an admitted call ended.

    Args:
        circuit: The service and its rules.
        permit: What the call was admitted on.
        outcome: How it ended; a neutral end of a call that was no probe needs no command.
        error: Class name of its error; empty without one.
        pending: Successes that ended before it and are not reported yet; they go first.

    Returns:
        The circuit's view afterwards, or None when nothing was asked.
    """
    generation, epoch = permit.generation, permit.epoch
    if permit.token is not None:
        return (yield Settle(circuit, generation, epoch, permit.token, outcome, error))
    if outcome is Outcome.NEUTRAL:
        return None
    if pending is None:
        return (yield Record(circuit, generation, epoch, (Run(outcome, 1),), error))
    runs = (Run(Outcome.SUCCESS, pending.count), Run(outcome, 1))
    return (yield Record(circuit, generation, epoch, runs, error, pending.age_ms))
