"""The breakers of a process, as far as they have to do with circuits nobody calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary, ref

from bb5_breaker._core.policy import Circuit
from bb5_breaker._shell.announcing import Announcer
from bb5_breaker._store.forks import ForkSafeLock

__all__ = ["Check", "Stake", "Stakes"]

# Runs a health check for as long as it is this process's turn. Returns after how many seconds
# the next attempt may be worth while; None when the circuit needs none as it is now.
Check = Callable[[], float | None]


class _Group:
    """The stakes in one circuit; it lives as long as one of them."""

    __slots__ = ("__weakref__", "stakes")

    def __init__(self) -> None:
        self.stakes: tuple[ref[Stake], ...] = ()


class Stake:
    """What one breaker wants done while nobody calls; the breaker holds it.

    Args:
        circuit: The service and its rules.
        announcer: Told of transitions that are made for it.
        check: Its health check; None without one.
    """

    __slots__ = ("__weakref__", "announcer", "check", "circuit", "group")

    def __init__(self, circuit: Circuit, announcer: Announcer, check: Check | None) -> None:
        self.circuit: Final = circuit
        self.announcer: Final = announcer
        self.check: Final = check
        self.group: _Group | None = None


class Stakes:
    """The stakes of living breakers in the circuits of one store. Thread-safe."""

    def __init__(self) -> None:
        # Nothing is left of a service whose breakers are gone.
        self._groups: WeakValueDictionary[str, _Group] = WeakValueDictionary()
        self._lock = ForkSafeLock()

    def add(self, stake: Stake) -> None:
        """Take in a stake, or take it over from another store."""
        service = stake.circuit.service
        with self._lock.lock:
            group = self._groups.get(service) or _Group()
            others = (one for one in group.stakes if one() not in (None, stake))
            group.stakes = (*others, ref(stake))
            stake.group = self._groups[service] = group

    def announcers(self) -> list[Announcer]:
        """Return an announcer for each event bus of living breakers."""
        groups = list(self._groups.values())
        stakes = [one() for group in groups for one in group.stakes]
        found = [stake.announcer for stake in stakes if stake is not None]
        by_bus = {id(each.bus): each for each in found if each.bus is not None}
        return list(by_bus.values())

    def of(self, service: str) -> list[Stake]:
        """Return the stakes in a circuit."""
        group = self._groups.get(service)
        found = [one() for one in group.stakes] if group is not None else []
        # One that was taken over meanwhile is no longer of this group.
        return [stake for stake in found if stake is not None and stake.group is group]
