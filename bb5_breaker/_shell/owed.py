"""Outcomes that the store is still to be told, of calls that ended while it was away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from bb5_breaker._core.commands import Outcome, Record, Run
from bb5_breaker._core.policy import Circuit
from bb5_breaker._store.forks import renew_in_children

__all__ = ["Owed"]

_log = logging.getLogger("bb5_breaker")
_MOST_DEBTS: Final = 10_000
# What one report may hold; see record.lua.
_MOST_RUNS: Final = 1000


@dataclass(slots=True)
class _Debt:
    """The outcomes of one state of a circuit, in their order, and when the first run ended."""

    circuit: Circuit
    generation: int
    epoch: str
    runs: list[Run] = field(default_factory=list)
    error: str = ""
    first_ended: float = 0.0

    def add(self, runs: tuple[Run, ...], error: str, now: float) -> None:
        for run in runs:
            if self.runs and self.runs[-1].outcome is run.outcome:
                self.runs[-1] = Run(run.outcome, self.runs[-1].count + run.count)
            else:
                self.runs.append(run)
            if len(self.runs) == 1:
                self.first_ended = now
        self.error = error or self.error
        if len(self.runs) > _MOST_RUNS:
            # The latest say most about the service; a window holds no more calls anyway.
            del self.runs[:-_MOST_RUNS]
            self.first_ended = now

    def report(self, now: float) -> Record:
        # Only successes may be old: a failure begins a streak, and that begins now.
        is_success = self.runs[0].outcome is Outcome.SUCCESS
        age_ms = max(0, int((now - self.first_ended) * 1000)) if is_success else 0
        runs = tuple(self.runs)
        return Record(self.circuit, self.generation, self.epoch, runs, self.error, age_ms)


class Owed:
    """Keeps outcomes by the state of the circuit that the store knows them to belong to.

    Of a state that is over by then the store drops them by its generation. Past 10,000 circuits
    the oldest are dropped. Thread-safe; a child of a fork owes nothing, its parent reports.
    """

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Owe nothing."""
        self._lock = threading.Lock()
        self._debts: dict[str, list[_Debt]] = {}
        self._has_dropped = False

    def __bool__(self) -> bool:
        return bool(self._debts)

    def note(self, report: Record, now: float) -> None:
        """Keep a report, made at a time in monotonic seconds, for later."""
        service = report.circuit.service
        with self._lock:
            debts = self._debts.setdefault(service, [])
            for debt in debts:
                if _is_of(debt, report):
                    break
            else:
                debt = _Debt(report.circuit, report.generation, report.epoch)
                # States follow each other, and at most the last of them goes on.
                debts[:] = [*debts[-1:], debt]
            debt.add(report.runs, report.error, now)
            is_full = len(self._debts) > _MOST_DEBTS
            if is_full:
                del self._debts[next(iter(self._debts))]
        if is_full and not self._has_dropped:
            self._has_dropped = True
            _log.warning(
                "outcomes of more than %d circuits wait for the store; the oldest are dropped",
                _MOST_DEBTS,
            )

    def take(self, service: str, now: float) -> list[Record]:
        """Return what is owed of one circuit, and owe it no more."""
        if service not in self._debts:
            return []
        with self._lock:
            debts = self._debts.pop(service, [])
        return [debt.report(now) for debt in debts]

    def take_all(self, may_pay: Callable[[str], bool], now: float) -> Iterator[Record]:
        """Return what is owed of all circuits whose store answers, and owe it no more."""
        if not self._debts:
            return
        with self._lock:
            services = list(self._debts)
        for service in services:
            if may_pay(service):
                yield from self.take(service, now)


def _is_of(debt: _Debt, report: Record) -> bool:
    return (
        debt.generation == report.generation
        and debt.epoch == report.epoch
        and debt.circuit.policy == report.circuit.policy
    )
