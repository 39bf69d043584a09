"""What happens when, in simulated seconds."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

__all__ = ["Timeline"]


class Timeline:
    """Events in the order of their times, and of their planning where those are equal.

    Args:
        verbose: Keep a line for what is said; see :attr:`lines`.
    """

    def __init__(self, verbose: bool) -> None:
        self.now = 0.0
        self.events = 0
        self.lines: list[str] = []
        self._verbose = verbose
        self._planned: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def after(self, delay: float, action: Callable[..., None], *args: Any) -> None:
        """Plan an event."""
        self.at(self.now + delay, action, *args)

    def at(self, moment: float, action: Callable[..., None], *args: Any) -> None:
        """Plan an event for a moment."""
        self._number += 1
        heapq.heappush(self._planned, (moment, self._number, action, args))

    def run(self, until: float, most: int) -> None:
        """Let time go on to a moment, or until ``most`` events have happened in all."""
        planned, pop = self._planned, heapq.heappop
        while planned and planned[0][0] <= until:
            if self.events >= most:
                return
            self.now, _, action, args = pop(planned)
            self.events += 1
            action(*args)
        self.now = until

    def say(self, *words: object) -> None:
        """Note what happens, for whoever replays the history."""
        if self._verbose:
            self.lines.append(f"{self.now:9.4f}  " + " ".join(str(word) for word in words))
