"""What each process of a soak writes down, and how it is read afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["CallRecord", "EventRecord", "HealthRecord", "Journal", "read_journal"]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call.

    Args:
        asked: Unix time in seconds when it asked for leave.
        at: When it was let through or rejected.
        ended: When it was over and reported.
        service: Its circuit.
        verdict: s or f as it ended, r when rejected, x when anything else came of it.
        state: State that let it through or rejected it.
        generation: Number of that state; -1 of a rejection.
        epoch: Life of the circuit; empty of a rejection.
        token: Its place as a probe; None without.
        until: When a rejected one may come again, Unix time; 0 without.
        detail: What else came of it.
    """

    asked: float
    at: float
    ended: float
    service: str
    verdict: str
    state: str
    generation: int = -1
    epoch: str = ""
    token: str | None = None
    until: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One transition that a process was told of."""

    at: float
    service: str
    state: str
    generation: int
    epoch: str
    event_id: str


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """What a process took at a moment: open sockets, threads and memory in KiB."""

    at: float
    sockets: int
    threads: int
    resident: int


Record = CallRecord | EventRecord | HealthRecord
_KINDS: dict[str, type[Record]] = {
    "call": CallRecord,
    "event": EventRecord,
    "health": HealthRecord,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Journal:
    """A file that one process appends to; nothing is lost when it is killed. Thread-safe.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, record: Record) -> None:
        """Append a record, in one write."""
        words: list[Any] = [_NAMES[type(record)], asdict(record)]
        os.write(self._file, json.dumps(words).encode() + b"\n")


def read_journal(path: Path) -> Iterator[Record]:
    """Yield the records of a file; a kill may have cut the last short, or come before the first."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            name, fields = json.loads(line)
        except ValueError:
            continue
        yield _KINDS[name](**fields)
