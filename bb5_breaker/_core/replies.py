"""What a store answers, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bb5_breaker.state import CircuitState

__all__ = ["CircuitSnapshot", "CircuitView", "Reply", "Verdict", "bare_view"]


class Verdict(Enum):
    """What a command came to."""

    ALLOW = "allow"
    PROBE = "probe"
    REJECT = "reject"
    RECORDED = "recorded"
    REPEAT = "repeat"
    STALE = "stale"
    SETTLED = "settled"
    HELD = "held"
    LOST = "lost"
    PROMOTED = "promoted"
    UNCHANGED = "unchanged"
    RESTORED = "restored"
    RESET = "reset"
    CLEARED = "cleared"
    COUNTED = "counted"
    SEEN = "seen"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class CircuitView:
    """The circuit as a command left it; every command but a snapshot answers with one.

    Args:
        verdict: What became of the command.
        state: State of the circuit.
        generation: Number of that state.
        epoch: Name of the circuit's present life; empty while it is not stored.
        now_ms: Time of the store's clock.
        until_ms: End of the open period or of a lease, see the scripts; 0 without one.
        failures: Consecutive failures; 0 in the answer to an admitted call, which does not ask.
        last_error: Class name of the last counted error; told with a rejection, a probe and a
            transition, else empty, as it costs a read.
        last_failure_ms: Its time; 0 likewise.
        moved_from: State before, when the command made a transition; None otherwise.
        renewed: The command prolonged the circuit's life, so its place in the registry is due.
    """

    verdict: Verdict
    state: CircuitState
    generation: int
    epoch: str
    now_ms: int
    until_ms: int
    failures: int
    last_error: str
    last_failure_ms: int
    moved_from: CircuitState | None
    renewed: bool


def bare_view(
    verdict: Verdict,
    now_ms: int,
    state: CircuitState = CircuitState.CLOSED,
    *,
    until_ms: int = 0,
    epoch: str = "",
    error: str = "",
) -> CircuitView:
    """Return the view of a circuit of which nothing is stored."""
    return CircuitView(verdict, state, 0, epoch, now_ms, until_ms, 0, error, 0, None, False)


@dataclass(frozen=True, slots=True)
class CircuitSnapshot:
    """All that is stored of a circuit."""

    exists: bool
    now_ms: int
    state: CircuitState = CircuitState.CLOSED
    generation: int = 0
    epoch: str = ""
    failures: int = 0
    total_successes: int = 0
    total_failures: int = 0
    rejections: int = 0
    transitions: int = 0
    window_calls: int = 0
    window_failures: int = 0
    active_probes: int = 0
    last_failure_ms: int = 0
    last_success_ms: int = 0
    last_error: str = ""
    opened_ms: int = 0
    open_until_ms: int = 0
    half_open_ms: int = 0
    changed_ms: int = 0
    changed_by: str = ""
    reason: str = ""

    @property
    def effective_state(self) -> CircuitState:
        """The state as it is by the clock: an open period that is over is half-open."""
        if self.state is CircuitState.OPEN and self.now_ms >= self.open_until_ms:
            return CircuitState.HALF_OPEN
        return self.state


Reply = CircuitView | CircuitSnapshot
