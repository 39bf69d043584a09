"""One state of a circuit as a process learnt it, and what it makes of further words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from bb5_breaker._core.replies import CircuitView
from bb5_breaker._core.tally import Tally
from bb5_breaker.exceptions import RejectionFacts
from bb5_breaker.state import CircuitState

__all__ = ["Seen", "end_of", "facts_of"]

_LONG_AGO: Final = float("-inf")


@final
@dataclass(frozen=True, slots=True)
class Seen:
    """One state of a circuit as this process learnt it.

    Args:
        told: The store's words.
        learnt_at: When it was learnt.
        facts: What a rejection by it tells.
        ends_at: End of the open period on this process's clock; long ago when not open.
        tally: Takes the successes of calls that it lets through; None when not closed.
    """

    told: CircuitView
    facts: RejectionFacts
    learnt_at: float
    ends_at: float
    tally: Tally | None

    def is_same(self, told: CircuitView) -> bool:
        """Return True for the same state of the same life."""
        held = self.told
        return (told.generation, told.epoch, told.state) == (
            held.generation,
            held.epoch,
            held.state,
        )

    def is_born(self, told: CircuitView) -> bool:
        """Return True when the circuit that was not stored yet is stored now."""
        return self.told.epoch == "" and told.generation == self.told.generation

    def lacks_end(self, told: CircuitView, now: float) -> bool:
        """Return True when a better end of the open period is told than the one that is known.

        The answer to a late report leaves it out; and of two the earlier one is right, as what told
        of the other was under way for longer, perhaps to a process that stood still.
        """
        if told.state is not CircuitState.OPEN or not told.until_ms or not self.is_same(told):
            return False
        return not self.told.until_ms or end_of(told, now) < self.ends_at

    def is_newer(self, told: CircuitView, asked_at: float) -> bool:
        """Return True when an answer is of before this was learnt, and can not replace it."""
        if asked_at > self.learnt_at:
            return False
        if told.epoch == self.told.epoch:
            return told.generation < self.told.generation
        # Of two lives only a later question tells which is the present one. One that was not
        # stored counts for any of its number, so nothing is gained by its name.
        return self.told.epoch != "" or told.generation == self.told.generation

    def makes_doubtful(self, told: CircuitView, asked_at: float) -> bool:
        """Return True when a circuit came to be since, or this is of before it was deleted."""
        return asked_at <= self.learnt_at and told.epoch != self.told.epoch


def facts_of(told: CircuitView) -> RejectionFacts:
    """Return what a rejection tells that goes back to these words of the store."""
    retry_ms = max(told.until_ms, told.now_ms)
    return RejectionFacts(told.state, told.failures, told.last_error or None, retry_ms)


def end_of(told: CircuitView, now: float) -> float:
    """Return the end of the open period on this process's clock; long ago when not open."""
    if told.state is not CircuitState.OPEN:
        return _LONG_AGO
    return now + max(0, told.until_ms - told.now_ms) / 1000
