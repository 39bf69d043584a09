"""The states that a circuit which lives in one process goes through."""

from __future__ import annotations

from bb5_breaker.state import CircuitState

__all__ = ["Course"]


class Course:
    """The present state, its number, and how the circuit came into it.

    ``moved_from`` is the state before the present command; None when it made no transition.
    """

    __slots__ = ("generation", "moved_from", "moved_ms", "reason", "state", "transitions")

    def __init__(self) -> None:
        self.state = CircuitState.CLOSED
        self.generation = self.transitions = self.moved_ms = 0
        self.moved_from: CircuitState | None = None
        self.reason = ""

    @property
    def is_closed(self) -> bool:
        """The state is CLOSED."""
        return self.state is CircuitState.CLOSED

    @property
    def is_open(self) -> bool:
        """The state is OPEN, whether or not the open period is over."""
        return self.state is CircuitState.OPEN

    @property
    def is_half_open(self) -> bool:
        """The state is HALF_OPEN."""
        return self.state is CircuitState.HALF_OPEN

    def move(self, state: CircuitState, reason: str, now_ms: int) -> None:
        """Enter a state."""
        self.moved_from = self.state
        self.state = state
        self.generation += 1
        self.transitions += 1
        self.moved_ms = now_ms
        self.reason = reason
