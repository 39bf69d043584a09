"""Circuits as the store last told of them: what a process goes by when the store goes away,
and what it gives back to a store that lost its memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from bb5_breaker._core.commands import Restore
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView, Verdict
from bb5_breaker.state import CircuitState

__all__ = ["Known", "Remembered"]

_MOST: Final = 100_000
# What these tell of a closed circuit was not read for them.
_WITHOUT_FAILURES: Final = (Verdict.ALLOW, Verdict.SEEN)


@dataclass(frozen=True, slots=True)
class Known:
    """What the store said of a circuit.

    Args:
        told: Its words.
        at: When they were learnt, in monotonic seconds.
        asked_at: When they were asked for: they may be as old as that.
        ends: When the open period ends; ``at`` for a circuit that is not open.
    """

    told: CircuitView
    at: float
    asked_at: float
    ends: float

    @property
    def is_closed(self) -> bool:
        """True for a circuit that was closed."""
        return self.told.state is CircuitState.CLOSED

    def restoring(self, circuit: Circuit, now: float) -> Restore:
        """Return the command that makes it so again."""
        told, policy = self.told, circuit.policy
        # By the rules of another process it may have been longer; what is not sure is not given.
        longest_ms = max(policy.timeout_ms, policy.reset_timeout_ms)
        # A clock in whole milliseconds is behind by up to one: never let it end too soon.
        left = self.ends - now
        remaining_ms = min(math.ceil(left * 1000) + 1, longest_ms) if left > 0 else 0
        known_ms = max(0, math.ceil((now - self.asked_at) * 1000))
        return Restore(
            circuit,
            told.generation,
            told.epoch,
            told.state,
            remaining_ms,
            known_ms,
            told.failures,
            told.last_error,
        )


class Remembered:
    """The circuits of one store that ever changed their state, or failed last.

    Thread-safe without a lock: each change is one operation of a dict.

    Args:
        clock: Monotonic seconds.
        keep: Seconds for which a circuit that nobody told of is remembered, past the end of its
            open period; the store itself keeps it no longer.
    """

    def __init__(self, clock: Callable[[], float], keep: float) -> None:
        self._clock = clock
        self._keep = keep
        self._known: dict[str, Known] = {}
        # What the store itself said. What was only pushed may be forged: a process goes by it
        # where it can not ask, and never holds it against the store.
        self._said: dict[str, Known] = {}

    def learn(self, service: str, told: CircuitView, asked_at: float, now: float) -> None:
        """Take the store's answer to a question."""
        taken = self._take(service, told, asked_at, now)
        if taken is not None:
            _put(self._said, service, taken)
        elif service in self._said:
            self._said.pop(service, None)

    def hear(self, service: str, told: CircuitView, now: float) -> None:
        """Take a transition that was pushed; only the very next one is believed, like a view."""
        known = self._known.get(service)
        if known is None:
            is_next = told.generation == 1
        else:
            is_next = (
                told.epoch == known.told.epoch and told.generation == known.told.generation + 1
            )
        if is_next:
            self._take(service, told, now, now)

    def forget(self, service: str) -> None:
        """Remember nothing of a circuit: it was forgotten on purpose, or is doubtful."""
        self._known.pop(service, None)
        self._said.pop(service, None)

    def get(self, service: str) -> Known | None:
        """Return what is known of a circuit; None when that is nothing, or too old."""
        known = self._known.get(service)
        if known is not None and self._clock() - known.ends > self._keep:
            self.forget(service)
            return None
        return known

    def get_said(self, service: str) -> Known | None:
        """Return what may be held against the store, as it said so itself; None for nothing.

        When it is heard since that the circuit was closed, that may be so.
        """
        known, said = self.get(service), self._said.get(service)
        if known is None or said is None:
            return None
        is_over = known is not said and (known.is_closed or said.is_closed)
        return None if is_over else said

    def has_said(self, service: str, told: CircuitView) -> bool:
        """Return True when the store itself has told of this very state."""
        said = self._said.get(service)
        return said is not None and _is_same(said.told, told)

    def overtook(self, service: str, told: CircuitView, asked_at: float) -> bool:
        """Return True when a circuit that an answer calls closed is known, since it was asked for,
        not to be."""
        known = self._known.get(service)
        return known is not None and not known.is_closed and asked_at <= known.at

    def exceeds(self, service: str, told: CircuitView, asked_at: float) -> bool:
        """Return True when more is known than the store answers: it lost its memory or fell behind.

        Args:
            service: The circuit.
            told: The answer.
            asked_at: When the store was asked. What was learnt since is of a later moment, and
                no sign of a loss.
        """
        if service not in self._said:
            return False
        said = self.get_said(service)
        if said is None or asked_at <= said.at or told.generation >= said.told.generation:
            return False
        return told.epoch == said.told.epoch or (
            told.state is CircuitState.CLOSED and not said.is_closed
        )

    def _take(self, service: str, told: CircuitView, asked_at: float, now: float) -> Known | None:
        """Take what was told, and return what is known by it."""
        known = self._known.get(service)
        if known is not None and _is_same(known.told, told):
            if told.state is CircuitState.OPEN and told.until_ms == 0:
                # A late report's answer leaves the end out.
                taken = replace(known, at=now, asked_at=asked_at)
                _put(self._known, service, taken)
                return taken
            told = _completed(told, known.told)
        if told.generation == 0 and told.failures == 0:
            # It never changed, or is not stored: there is nothing to go by.
            if known is not None:
                self._known.pop(service, None)
            return None
        ends = now
        if told.state is CircuitState.OPEN:
            ends += max(0, told.until_ms - told.now_ms) / 1000
        taken = Known(told, now, asked_at, ends)
        _put(self._known, service, taken)
        return taken


def _put(where: dict[str, Known], service: str, known: Known) -> None:
    where[service] = known
    if len(where) > _MOST:
        with suppress(KeyError, RuntimeError, StopIteration):
            del where[next(iter(where))]


def _is_same(one: CircuitView, other: CircuitView) -> bool:
    return (one.epoch, one.generation, one.state) == (other.epoch, other.generation, other.state)


def _completed(told: CircuitView, before: CircuitView) -> CircuitView:
    """Return an answer with what it leaves out and an earlier one of the same state had."""
    failures = before.failures if told.verdict in _WITHOUT_FAILURES else told.failures
    return replace(told, failures=failures, last_error=told.last_error or before.last_error)
