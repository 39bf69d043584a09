"""Circuits whose part of the store was away when they were to be looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["Stragglers"]

_INTERVAL: Final = 1.0


class Stragglers:
    """Of a Cluster a part may be away while the rest goes on. For the thread of one feed.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._services: set[str] = set()
        self._due_at = float("-inf")

    def __contains__(self, service: str) -> bool:
        return service in self._services

    def add(self, service: str) -> None:
        """Note a circuit."""
        self._services.add(service)

    def take_all(self) -> set[str]:
        """Return the circuits, and forget them."""
        services, self._services = self._services, set()
        return services

    def take_due(self) -> set[str]:
        """Return the circuits to look at now, once a second; forget those."""
        now = self._clock()
        if not self._services or now < self._due_at:
            return set()
        self._due_at = now + _INTERVAL
        return self.take_all()
