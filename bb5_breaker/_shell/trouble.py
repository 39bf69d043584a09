"""Which parts of a store do not answer, since when, and who tries again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from bb5_breaker._core.policy import Circuit
from bb5_breaker._store.background import Background
from bb5_breaker._store.chance import draw_between
from bb5_breaker._store.forks import renew_in_children
from bb5_breaker._store.interface import Store
from bb5_breaker.exceptions import StoreError

__all__ = ["Failure", "Trouble"]

_log = logging.getLogger("bb5_breaker")
_MOST_DAMAGED: Final = 1000
_JITTER: Final = (0.75, 1.25)


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """Why a part of the store is not asked; of its own each, so that the one who set it knows.

    Args:
        error: The first error.
        circuit: The circuit whose command met it.
        since: When, in monotonic seconds.
        is_damage: The store answers; something is wrong with the keys of this circuit alone.
    """

    error: StoreError
    circuit: Circuit
    since: float
    is_damage: bool = False

    @property
    def is_silent(self) -> bool:
        """True when trying again may cost a time-out: then no call is to do it."""
        return self.error.is_silent


class Trouble:
    """Says whether the store may be asked. Thread-safe.

    A store that is silent is tried from a thread of its own, every interval, so that its
    time-out costs no call anything after the first. One that answers with a refusal is tried by
    a call, at most one an interval, as only the same command tells whether it would do it now.

    No locks: each change is one atomic operation of a dict, so that an interrupt can leave none
    held on the way round a dead store.

    Args:
        store: The store.
        retry_interval: Seconds between attempts.
        knock: Returns what tries a part by means of a circuit; None when it is gone.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        retry_interval: float,
        knock: Callable[[], Callable[[str, Circuit], None] | None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._retry_interval = retry_interval
        self._knock = knock
        self._clock = clock
        # By the part of the store, and by service.
        self._failures: dict[str, Failure] = {}
        self._damaged: dict[str, Failure] = {}
        self._thread = Background("bb5-breaker-return")
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without a thread; in a child the next call finds out how things are."""
        self._thread.forget()
        self._failures.clear()
        self._damaged.clear()
        # By parts, and by services that are named apart from them.
        self._next_attempts: dict[tuple[str, str], float] = {}
        self._stopped = False

    def __bool__(self) -> bool:
        return bool(self._failures or self._damaged)

    @property
    def first(self) -> StoreError | None:
        """The error of a part that does not answer; None while all do."""
        return next((failure.error for failure in list(self._failures.values())), None)

    def of(self, service: str) -> Failure | None:
        """Return why a circuit's store is not asked; None while all is well."""
        if not self._failures and not self._damaged:
            return None
        return self._failures.get(self._store.part_of(service)) or self._damaged.get(service)

    def is_well(self, service: str) -> bool:
        """Return True when nothing is amiss with a circuit's store, as far as is known."""
        return self.of(service) is None

    def may_ask(self, service: str) -> bool:
        """Return True when a call may ask the store; in trouble it is then the one to try."""
        failure = self.of(service)
        if failure is None:
            return True
        if failure.is_silent and self._thread.is_running:
            return False
        place = self._place_of(service, failure)
        if self._clock() < self._next_attempts.get(place, float("-inf")):
            return False
        self._schedule(place)
        return True

    def seconds_to_attempt(self, service: str) -> float:
        """Return the seconds until the store may be tried next, about."""
        failure = self.of(service)
        if failure is None:
            return 0.0
        due = self._next_attempts.get(self._place_of(service, failure))
        return max(0.0, due - self._clock()) if due is not None else 0.0

    def begin(self, circuit: Circuit, error: StoreError) -> bool:
        """Note that a command met an error of the store; False when that is known already."""
        part = self._store.part_of(circuit.service)
        self._schedule((part, ""))
        mine = Failure(error, circuit, self._clock())
        known = self._failures.setdefault(part, mine)
        if mine.is_silent and not known.is_silent:
            # It answered, if only to refuse; from here on trying it costs time-outs.
            self._failures[part] = replace(known, error=error)
        if mine.is_silent and not self._thread.is_running and not self._stopped:
            self._thread.start(self._run)
        return known is mine

    def end(self, part: str) -> Failure | None:
        """Note that a part of the store answers; return what was wrong with it."""
        failure = self._failures.pop(part, None)
        self._next_attempts.pop((part, ""), None)
        return failure

    def begin_damage(self, circuit: Circuit, error: StoreError) -> bool:
        """Note that a circuit's own keys are damaged; False when that is known already.

        A bounded number is known: of further ones each call finds out anew, without a log line.
        """
        mine = Failure(error, circuit, self._clock(), is_damage=True)
        service = circuit.service
        if service not in self._damaged and len(self._damaged) >= _MOST_DAMAGED:
            return False
        self._schedule(self._place_of(service, mine))
        return self._damaged.setdefault(service, mine) is mine

    def end_damage(self, service: str) -> bool:
        """Note that the store answers for a circuit; True when its keys had been damaged."""
        damage = self._damaged.pop(service, None)
        if damage is None:
            return False
        self._next_attempts.pop(self._place_of(service, damage), None)
        return True

    def settled_by(self, service: str) -> list[str]:
        """Return the parts that are in trouble no more when a circuit was answered for.

        Its own; and one that failed for this circuit, which has been moved since: perhaps none
        is left there for whose sake it would be tried again.
        """
        own = self._store.part_of(service)
        return [
            part
            for part, failure in list(self._failures.items())
            if part == own or failure.circuit.service == service
        ]

    def stop(self) -> None:
        """Let the thread end; does not wait."""
        self._stopped = True

    def _place_of(self, service: str, failure: Failure) -> tuple[str, str]:
        return ("", service) if failure.is_damage else (self._store.part_of(service), "")

    def _schedule(self, place: tuple[str, str]) -> None:
        # Jitter keeps a fleet from knocking in step.
        self._next_attempts[place] = self._clock() + self._retry_interval * draw_between(*_JITTER)

    def _run(self) -> None:
        while self._thread.is_current and not self._stopped:
            time.sleep(self._retry_interval * draw_between(*_JITTER))
            for part, failure in self._silent():
                knock = self._knock()
                if knock is None or self._stopped:
                    return
                self._schedule((part, ""))
                try:
                    knock(part, failure.circuit)
                except Exception:
                    _log.exception("trying the store again met an error that was not expected")
            if not any(self._silent()):
                self._thread.leave()
                # Who met silence in this moment may have seen the thread run.
                if not any(self._silent()):
                    return
                self._thread.start(self._run)
                return

    def _silent(self) -> Iterator[tuple[str, Failure]]:
        return ((part, each) for part, each in list(self._failures.items()) if each.is_silent)
