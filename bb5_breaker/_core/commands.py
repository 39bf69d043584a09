"""What can be asked of a store, as data. One command is one script."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bb5_breaker._core.policy import Circuit

__all__ = [
    "Admit",
    "Clear",
    "Command",
    "Extend",
    "Forget",
    "Outcome",
    "Promote",
    "Record",
    "Reset",
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


@dataclass(frozen=True, slots=True)
class Admit:
    """May a call run? ``token`` names the place it gets in half-open."""

    circuit: Circuit
    token: str


@dataclass(frozen=True, slots=True)
class Record:
    """Outcomes of calls admitted while closed, in their order."""

    circuit: Circuit
    generation: int
    epoch: str
    runs: tuple[Run, ...]
    error: str


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
class Reset:
    """Close by hand."""

    circuit: Circuit


@dataclass(frozen=True, slots=True)
class Clear:
    """Start the statistics anew."""

    circuit: Circuit


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Read everything."""

    circuit: Circuit


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the circuit."""

    circuit: Circuit


Command = Admit | Record | Settle | Extend | Promote | Reset | Clear | Snapshot | Forget
