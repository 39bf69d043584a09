"""What was seen in a demo: the material from which figures and claims are worked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bb5_breaker._core.replies import CircuitSnapshot
from bb5_breaker._store.history import Transition
from bb5_breaker.demo.records import Call, ModeChange, Outcome, Request
from bb5_breaker.state import CircuitState

__all__ = ["Evidence", "Mark", "SeenEvent", "Tally"]


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """A transition that was heard on the circuit's channel.

    Args:
        state: State that was entered.
        generation: Its number.
        reason: Why.
        pid: Process that made it; 0 when unknown.
        at_ns: When it was heard, on this machine's monotonic clock.
    """

    state: CircuitState
    generation: int
    reason: str
    pid: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A phase of the demo and when it began."""

    title: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything, at the end.

    Args:
        pids: Process ids of the workers by their numbers.
        modes: What the service was told, in order.
        calls: Calls of all workers, as they were told.
        requests: Requests as the service saw them.
        events: Transitions as they were heard.
        history: Transitions as they are stored, the newest first.
        stored: The circuit as it is stored.
        marks: Phases in order; the first one begins the demo.
        troubles: What went wrong beside the circuit: a process that ended or complained.
    """

    pids: dict[int, int]
    modes: Sequence[ModeChange]
    calls: Sequence[Call]
    requests: Sequence[Request]
    events: Sequence[SeenEvent]
    history: Sequence[Transition]
    stored: CircuitSnapshot
    marks: Sequence[Mark]
    troubles: Sequence[str]


@dataclass(frozen=True, slots=True)
class Tally:
    """What one worker did so far; times are those at which its calls began."""

    successes: int = 0
    failures: int = 0
    rejections: int = 0
    last: Call | None = None
    last_success_ns: int = 0
    last_rejection_ns: int = 0

    @property
    def calls(self) -> int:
        """All its calls."""
        return self.successes + self.failures + self.rejections

    def add(self, call: Call) -> Tally:
        """Return the tally with one call more."""
        success = call.outcome is Outcome.SUCCESS
        rejected = call.outcome is Outcome.REJECTED
        return Tally(
            successes=self.successes + success,
            failures=self.failures + (call.outcome is Outcome.FAILURE),
            rejections=self.rejections + rejected,
            last=call,
            last_success_ns=call.begun_ns if success else self.last_success_ns,
            last_rejection_ns=call.begun_ns if rejected else self.last_rejection_ns,
        )
