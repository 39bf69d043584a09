"""Calls as an all-knowing observer sees them, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bb5_breaker._core.commands import Outcome

__all__ = ["Call", "Fate", "Violation"]


class Violation(AssertionError):
    """An invariant does not hold.

    Args:
        invariant: Its letter and name.
        what: What was seen instead.
    """

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"({invariant}) {what}")


class Fate(Enum):
    """Where the outcome of a call went."""

    COUNTED = "counted by the store"
    STALE = "of a state that is over"
    ELSEWHERE = "counted by the process's stand-in, as the store did not answer"
    NEUTRAL = "said nothing"


@dataclass(slots=True, eq=False)
class Call:
    """One call that was let through.

    Args:
        number: Its name.
        process: Number of the process that runs it.
        generation: Of the state that let it through, as told at that moment.
        epoch: Likewise.
        token: Its place, for a probe.
    """

    number: int
    process: int
    generation: int
    epoch: str
    token: str | None
    outcome: Outcome | None = None
    ended_at: float = 0.0
    fate: Fate | None = None

    def meet(self, fate: Fate) -> None:
        """Note what became of it; what is counted can not be counted again."""
        if self.fate is Fate.COUNTED and fate is Fate.COUNTED:
            raise Violation("h: nothing twice", f"{self} was counted again")
        if self.fate is not Fate.COUNTED:
            self.fate = fate

    def __str__(self) -> str:
        name = self.token or f"{self.generation}:{self.epoch}"
        return f"call {self.number} of p{self.process} on {name}"
