"""Circuits last seen open: what a process goes by when the store goes away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from bb5_breaker._core.replies import CircuitView
from bb5_breaker.state import CircuitState

__all__ = ["OpenCircuits"]

_MOST: Final = 100_000


class OpenCircuits:
    """Remembers open periods on this process's clock. Thread-safe without a lock: each change is
    one operation of a dict.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: dict[str, tuple[float, CircuitView]] = {}

    def note(self, service: str, told: CircuitView, now: float) -> None:
        """A store told of a circuit just now."""
        if told.state is CircuitState.OPEN and told.until_ms:
            self._open[service] = (now + (told.until_ms - told.now_ms) / 1000, told)
            if len(self._open) > _MOST:
                with suppress(KeyError, RuntimeError, StopIteration):
                    del self._open[next(iter(self._open))]
        elif told.state is not CircuitState.OPEN and service in self._open:
            self._open.pop(service, None)

    def take(self, service: str) -> tuple[int, CircuitView] | None:
        """Return the milliseconds that are left and the circuit, once; None when it is not open."""
        if service not in self._open:
            return None
        known = self._open.pop(service, None)
        if known is None:
            return None
        ends, told = known
        return max(0, round((ends - self._clock()) * 1000)), told
