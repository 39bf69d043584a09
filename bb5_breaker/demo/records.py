"""What the processes of the demo tell, as data and as lines of JSON.

All times are nanoseconds of ``time.monotonic_ns``, one clock for all processes of a machine.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum

__all__ = [
    "Call",
    "Mode",
    "ModeChange",
    "Outcome",
    "Ready",
    "Record",
    "Request",
    "decode",
    "encode",
    "seconds_between",
]


class Mode(str, Enum):  # noqa: UP042 - as the other enums of the package
    """How the service behaves."""

    HEALTHY = "healthy"
    FAILING = "failing"
    HANGING = "hanging"
    RECOVERING = "recovering"


class Outcome(str, Enum):  # noqa: UP042 - as the other enums of the package
    """What became of a worker's call."""

    SUCCESS = "success"
    FAILURE = "failure"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Ready:
    """A process is up: the service with its port, a worker with 0."""

    port: int


@dataclass(frozen=True, slots=True)
class ModeChange:
    """The service behaves otherwise from now on."""

    mode: Mode
    at_ns: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the service saw it.

    Args:
        call: Id of the worker's call.
        begun_ns: When it arrived.
        ended_ns: When the work for it was done, before the answer went out, or when the client
            hung up.
        status: HTTP status of the answer; 0 when the client did not wait for it.
        at_work: Requests that were worked on when it arrived, with this one.
    """

    call: str
    begun_ns: int
    ended_ns: int
    status: int
    at_work: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a worker through the circuit.

    Args:
        call: Its id, ``<worker>-<number>``.
        worker: Number of the worker.
        outcome: What became of it.
        state: State of the circuit that admitted or rejected it.
        error: Class name of its error; empty without one.
        begun_ns: When the circuit was asked.
        finished_ns: When the service's answer or error was there; 0 for a rejected call.
        ended_ns: When the worker had the result, the circuit's report included.
    """

    call: str
    worker: int
    outcome: Outcome
    state: str
    error: str
    begun_ns: int
    finished_ns: int
    ended_ns: int


Record = Ready | ModeChange | Request | Call
_KINDS = {kind.__name__: kind for kind in (Ready, ModeChange, Request, Call)}


def encode(record: Record) -> str:
    """Return a record as one line, without its end."""
    return json.dumps([type(record).__name__, asdict(record)])


def decode(line: str) -> Record:
    """Return the record in a line.

    Raises:
        ValueError: It is none.
    """
    try:
        kind, fields = json.loads(line)
        if "mode" in fields:
            fields["mode"] = Mode(fields["mode"])
        if "outcome" in fields:
            fields["outcome"] = Outcome(fields["outcome"])
        record: Record = _KINDS[kind](**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"not a record: {line[:200]!r}") from error
    return record


def seconds_between(begun_ns: int, ended_ns: int) -> float:
    """Return the seconds from one moment to another."""
    return (ended_ns - begun_ns) / 1_000_000_000
