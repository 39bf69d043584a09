"""Keeps the places of running probes: one thread renews the leases of a process."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Final
from weakref import ReferenceType, ref

from bb5_breaker._core.commands import Extend
from bb5_breaker._core.flows import Permit
from bb5_breaker._core.policy import Circuit
from bb5_breaker._shell.link import Link
from bb5_breaker._store.background import Background
from bb5_breaker._store.forks import renew_in_children

__all__ = ["LeaseKeeper", "lease_keeper"]

_log = logging.getLogger("bb5_breaker")
_IDLE_SECONDS: Final = 5.0


@dataclass(slots=True)
class _Held:
    """A place to keep: when its renewal is due, and until when it may be kept at all.

    The permit is held weakly: where it was lost (an interrupt before the call began, a block
    that was entered and thrown away) nobody will settle it, and its place must not be kept.
    """

    link: Link
    command: Extend
    permit: ReferenceType[Permit]
    period: float
    due: float
    limit: float


class LeaseKeeper:
    """Renews leases from a daemon thread that lives only while probes run. Thread-safe.

    A place is not kept for ever: a probe that hangs without a deadline would hold up the whole
    fleet's recovery. Past its limit the lease runs out and the place goes to another.
    """

    def __init__(self) -> None:
        self._thread = Background("bb5-breaker-leases")
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without places: a child runs none of its parent's probes."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._held: dict[str, _Held] = {}
        self._thread.forget()

    def hold(self, link: Link, circuit: Circuit, permit: Permit, longest: float) -> None:
        """Keep the place of a probe until :meth:`drop`, at most ``longest`` seconds."""
        if permit.token is None:
            return
        now = time.monotonic()
        period = circuit.policy.lease_ms / 3000
        command = Extend(circuit, permit.epoch, permit.token)
        held = _Held(link, command, ref(permit), period, now + period, now + longest)
        # The lock itself, which no interrupt can leave held.
        with self._lock:
            self._held[permit.token] = held
            self._changed.notify()
        if not self._thread.is_running:
            self._thread.start(self._keep)

    def drop(self, permit: Permit) -> None:
        """Stop keeping a place, before it is settled."""
        if permit.token is not None:
            with self._lock:
                self._held.pop(permit.token, None)

    def _keep(self) -> None:
        while (batch := self._wait_for_due()) is not None:
            for token, held in batch:
                if not self._renew(held):
                    with self._lock:
                        self._held.pop(token, None)

    def _wait_for_due(self) -> list[tuple[str, _Held]] | None:
        with self._lock:
            while self._thread.is_current:
                now = time.monotonic()
                due = [(token, held) for token, held in self._held.items() if held.due <= now]
                if due:
                    for _, held in due:
                        held.due = now + held.period
                    return due
                if self._held:
                    self._changed.wait(min(held.due for held in self._held.values()) - now)
                elif not self._changed.wait(_IDLE_SECONDS) and not self._held:
                    # Under the lock: who holds a place after this begins another.
                    self._thread.leave()
            return None

    def _renew(self, held: _Held) -> bool:
        """Return False when the place is lost or kept for too long."""
        if held.permit() is None:
            return False
        if time.monotonic() > held.limit:
            _log.warning(
                "a probe of '%s' runs for longer than its place is kept; its result will not count",
                held.command.circuit.service,
            )
            return False
        return held.link.renew(held.command)


_keeper = LeaseKeeper()


def lease_keeper() -> LeaseKeeper:
    """Return the keeper of this process."""
    return _keeper
