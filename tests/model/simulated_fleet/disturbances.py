"""What goes wrong: frozen, dead and cut-off processes, lost connections, orders in between."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bb5_breaker._core.commands import Forget, Reset

from .timeline import Timeline
from .weather import Weather

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Disturbances"]


class Disturbances:
    """Happens to a fleet until it is told to stop."""

    def __init__(
        self,
        timeline: Timeline,
        weather: Weather,
        processes: Sequence[Process],
        rng: random.Random,
    ) -> None:
        self._timeline = timeline
        self._weather = weather
        self._processes = processes
        self._rng = rng
        self._are_over = False
        self._kinds: tuple[Callable[[Process], None], ...] = (
            self._freeze, self._freeze, self._kill, self._cut_connection, self._cut_connection,
            self._cut_off, self._cut_off_all, self._reset, self._forget, self._turn, self._turn,
            self._turn,
        )  # fmt: skip

    def begin(self) -> None:
        """Plan the first."""
        if self._weather.disturbances:
            pause = self._rng.expovariate(self._weather.disturbances)
            self._timeline.after(pause, self._disturb)

    def end(self) -> None:
        """Heal everything but death."""
        self._are_over = True
        self._weather.calm_down()
        for process in self._processes:
            process.is_cut_off = False
            if process.is_frozen:
                process.thaw(self._rng)

    def kill_all_but(self, survivor: Process) -> None:
        """Let one process be left."""
        for process in self._processes:
            if process is not survivor:
                self._kill(process)

    def _disturb(self) -> None:
        if not self._are_over:
            living = [process for process in self._processes if process.is_alive]
            self._rng.choice(self._kinds)(self._rng.choice(living))
            self.begin()

    def _freeze(self, process: Process) -> None:
        if not process.is_frozen:
            self._timeline.say(process.name, "is FROZEN")
            process.is_frozen = True
            self._timeline.after(self._rng.uniform(0.05, 4.0), self._thaw, process)

    def _thaw(self, process: Process) -> None:
        if process.is_frozen:
            self._timeline.say(process.name, "goes on")
            process.thaw(self._rng)

    def _kill(self, process: Process) -> None:
        if sum(each.is_alive for each in self._processes) > 1:
            self._timeline.say(process.name, "DIES")
            process.is_alive = False
            if process.feed.connection is not None:
                process.feed.connection.cut(False)

    def _cut_connection(self, process: Process) -> None:
        if process.feed.connection is not None:
            self._timeline.say(process.name, "loses its connection")
            process.feed.connection.cut(self._rng.random() < 0.5)

    def _cut_off(self, process: Process) -> None:
        self._timeline.say(process.name, "is CUT OFF")
        process.is_cut_off = True
        self._timeline.after(self._rng.uniform(0.2, 3.0), self._let_in, process)
        if process.feed.connection is not None:
            process.feed.connection.cut(False)

    def _cut_off_all(self, _: Process) -> None:
        for process in self._processes:
            self._cut_off(process)

    def _let_in(self, process: Process) -> None:
        process.is_cut_off = False

    def _reset(self, process: Process) -> None:
        process.resume(process.link.order(Reset(process.circuit)))

    def _forget(self, process: Process) -> None:
        if self._rng.random() < 0.5:
            process.resume(process.link.order(Forget(process.circuit)))

    def _turn(self, _: Process) -> None:
        self._weather.turn()
