"""What happens to a fleet and its server: one fault after the other, by chance."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.processes import LocalServer
from tests.support.proxy import Proxy

from .fleet import Fleet, Hand
from .rules import LEASE, SERVICES
from .witness import Witness

__all__ = ["Disturbance", "Weather"]

_PARTS = ("", ":window", ":probes", ":cooldown", ":events")


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A time in which the way to the server, or the server, was not well; Unix seconds."""

    begun: float
    ended: float
    what: str


class Weather:
    """Does harm until it is told to end. Used by one thread.

    Args:
        server: The server.
        proxy: What the fleet reaches it through.
        fleet: The fleet.
        witness: Told of restarts.
        prefix: Prefix of the circuits' keys.
        seed: Of all chance.
        keeps_memory: Leave out what makes the server forget.
    """

    def __init__(
        self,
        server: LocalServer,
        proxy: Proxy,
        fleet: Fleet,
        witness: Witness,
        prefix: str,
        seed: int,
        keeps_memory: bool,
    ) -> None:
        self.counts: dict[str, int] = {}
        self.disturbances: list[Disturbance] = []
        self._server = server
        self._proxy = proxy
        self._fleet = fleet
        self._witness = witness
        self._prefix = prefix
        self._chance = random.Random(seed)
        self._frozen: list[tuple[float, Hand]] = []
        self._faults: dict[Callable[[], None], int] = {
            self._stop_worker: 8,
            self._kill_worker: 3,
            self._freeze_server: 3,
            self._restart_server: 1,
            self._forget_scripts: 3,
            self._cut: 4,
            self._lose: 2,
            self._slow_down: 2,
        }
        if not keeps_memory:
            self._faults |= {self._empty_server: 1, self._flush_all: 2, self._delete_key: 4}

    def blow(self, seconds: float) -> None:
        """Do harm for so long, and then make all well again."""
        ends = time.monotonic() + seconds
        faults, weights = list(self._faults), list(self._faults.values())
        while time.monotonic() < ends:
            time.sleep(self._chance.uniform(0.05, 0.4))
            self._thaw(time.monotonic())
            (fault,) = self._chance.choices(faults, weights)
            name = fault.__name__.strip("_")
            self.counts[name] = self.counts.get(name, 0) + 1
            fault()
        self._thaw(float("inf"))

    def _thaw(self, now: float) -> None:
        for due, hand in list(self._frozen):
            if due <= now:
                self._frozen.remove((due, hand))
                self._fleet.go_on(hand)

    def _victim(self) -> Hand:
        """Choose a worker; more often than not one inside a probe."""
        if self._chance.random() < 0.7:
            ends = time.monotonic() + 0.5
            while time.monotonic() < ends:
                pids = self._witness.find_probing()
                probing = [hand for hand in self._fleet.living if hand.process.pid in pids]
                if probing:
                    return self._chance.choice(probing)
                time.sleep(0.001)
        return self._chance.choice(self._fleet.living)

    def _stop_worker(self) -> None:
        hand = self._victim()
        if hand.stopped_at is None:
            self._fleet.stop(hand)
            seconds = self._chance.choice([0.05, 0.3, LEASE * 1.5, 1.5])
            self._frozen.append((time.monotonic() + seconds, hand))

    def _kill_worker(self) -> None:
        hand = self._victim()
        self._frozen = [(due, other) for due, other in self._frozen if other is not hand]
        self._fleet.kill(hand)
        self._fleet.hire()

    def _freeze_server(self) -> None:
        begun = time.time()
        self._server.pause()
        time.sleep(self._chance.uniform(0.05, 0.8))
        self._server.resume()
        self._note(begun, "frozen")

    def _restart_server(self) -> None:
        self._restart(is_empty=False)

    def _empty_server(self) -> None:
        self._restart(is_empty=True)

    def _restart(self, *, is_empty: bool) -> None:
        begun = time.time()
        lanes = (self._proxy.calls, self._proxy.feeds)
        for lane in lanes:
            lane.refuse()
            lane.cut()
        self._server.kill()
        self._witness.note_restart(is_empty=is_empty)
        if is_empty:
            shutil.rmtree(self._server.directory / "appendonlydir", ignore_errors=True)
        time.sleep(self._chance.uniform(0.0, 0.5))
        self._server.restart()
        # Nobody may ask before it is heard what he asks.
        self._witness.await_readiness()
        self._witness.catch_up()
        for lane in lanes:
            lane.accept()
        self._note(begun, "restarted")

    def _flush_all(self) -> None:
        with self._server.client() as client:
            client.flushall()

    def _forget_scripts(self) -> None:
        with self._server.client() as client:
            client.script_flush()

    def _delete_key(self) -> None:
        key = f"{self._prefix}:{{{self._chance.choice(SERVICES)}}}{self._chance.choice(_PARTS)}"
        with self._server.client() as client:
            client.delete(key)

    def _cut(self) -> None:
        begun = time.time()
        for lane in (self._proxy.calls, self._proxy.feeds):
            if self._chance.random() < 0.7:
                lane.cut()
        self._note(begun, "cut")

    def _lose(self) -> None:
        begun = time.time()
        for lane in (self._proxy.calls, self._proxy.feeds):
            lane.lose(0.05, self._chance.randrange(1 << 30))
        time.sleep(self._chance.uniform(0.2, 1.0))
        for lane in (self._proxy.calls, self._proxy.feeds):
            lane.lose(0.0)
        self._note(begun, "lossy")

    def _slow_down(self) -> None:
        begun = time.time()
        for lane in (self._proxy.calls, self._proxy.feeds):
            lane.delay(self._chance.choice([0.02, 0.1, 0.3]))
        time.sleep(self._chance.uniform(0.2, 1.0))
        for lane in (self._proxy.calls, self._proxy.feeds):
            lane.delay(0.0)
        self._note(begun, "slow")

    def _note(self, begun: float, what: str) -> None:
        self.disturbances.append(Disturbance(begun, time.time(), what))
