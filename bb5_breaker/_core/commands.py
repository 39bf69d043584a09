"""What can be asked of a store, as data. One command is one script."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bb5_breaker._core.policy import Circuit
from bb5_breaker.state import CircuitState

__all__ = [
    "Admit",
    "Clear",
    "Command",
    "CountRejections",
    "Extend",
    "Forget",
    "Look",
    "Outcome",
    "Promote",
    "Purpose",
    "Record",
    "Reset",
    "Restore",
    "Run",
    "Settle",
    "Snapshot",
]


class Outcome(Enum):
    """How a call ended, as far as the service is concerned."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` calls in a row that ended alike; never neutral."""

    outcome: Outcome
    count: int


class Purpose(Enum):
    """What a call is for. A health check that is not let through is nobody's rejected call."""

    CALL = "call"
    HEALTH_CHECK = "health_check"


@dataclass(frozen=True, slots=True)
class Admit:
    """May a call run? ``token`` names the place it gets in half-open."""

    circuit: Circuit
    token: str
    purpose: Purpose = Purpose.CALL


@dataclass(frozen=True, slots=True)
class Record:
    """Outcomes of calls admitted while closed, in their order.

    ``age_ms`` tells how long ago, by the reporter's monotonic clock, the last call of the first
    run ended. Only a first run of successes may be old: what follows it has just ended.
    """

    circuit: Circuit
    generation: int
    epoch: str
    runs: tuple[Run, ...]
    error: str
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class Settle:
    """The end of a probe."""

    circuit: Circuit
    generation: int
    epoch: str
    token: str
    outcome: Outcome
    error: str


@dataclass(frozen=True, slots=True)
class Extend:
    """A probe's call still runs; ``epoch`` is that of the store that admitted it."""

    circuit: Circuit
    epoch: str
    token: str


@dataclass(frozen=True, slots=True)
class Promote:
    """End an open period that is over."""

    circuit: Circuit


@dataclass(frozen=True, slots=True)
class Restore:
    """Give a circuit back to a store that lost it, as it was last told of.

    Args:
        circuit: The service and its rules.
        generation: Number of the state.
        epoch: Life of the circuit.
        state: The state.
        remaining_ms: What is left of its open period.
        known_ms: For how long that has been known.
        failures: Consecutive failures.
        error: Class name of the last counted error; may be empty.
    """

    circuit: Circuit
    generation: int
    epoch: str
    state: CircuitState
    remaining_ms: int
    known_ms: int
    failures: int
    error: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Close by hand."""

    circuit: Circuit


@dataclass(frozen=True, slots=True)
class Clear:
    """Start the statistics anew."""

    circuit: Circuit


@dataclass(frozen=True, slots=True)
class CountRejections:
    """Calls that a process rejected by its view of the circuit, whose life was ``epoch``."""

    circuit: Circuit
    epoch: str
    count: int


@dataclass(frozen=True, slots=True)
class Look:
    """See the circuit as it is: changes nothing, not even what is due."""

    circuit: Circuit


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Read everything."""

    circuit: Circuit


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the circuit."""

    circuit: Circuit


Command = (
    Admit
    | Record
    | Settle
    | Extend
    | Promote
    | Restore
    | Reset
    | Clear
    | CountRejections
    | Look
    | Snapshot
    | Forget
)
