"""One process of a soak: python -m scripts._soak.worker <json>.

It makes calls until it is told to end, and notes what came of each.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bb5_breaker import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    Event,
    EventBusConfig,
    RedisConnectionError,
    configure,
    get_event_bus,
    shutdown_event_bus,
)

from .records import CallRecord, EventRecord, HealthRecord, Journal
from .rules import SERVICES, SETTINGS, rules_of

__all__ = ["Orders"]


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is to do.

    Args:
        url: Where the circuits are.
        prefix: Prefix of keys and channels.
        journal: File to write to.
        consistency: cached or strict.
        is_async: It calls from tasks of a loop.
        seed: Of its chance.
    """

    url: str
    prefix: str
    journal: str
    consistency: str
    is_async: bool
    seed: int


class ServiceError(Exception):
    """What the services of a soak raise."""


class _Worker:
    def __init__(self, orders: Orders) -> None:
        configure(orders.url, prefix=orders.prefix, consistency=orders.consistency, **SETTINGS)
        self._journal = Journal(Path(orders.journal))
        self._chance = random.Random(orders.seed)
        self._breakers = {name: CircuitBreaker(name, rules_of(name)) for name in SERVICES}
        self._looked_at = 0.0
        self.is_over = False
        self._listen(
            EventBusConfig(
                url=orders.url,
                prefix=orders.prefix,
                timeout=2.0,
                heartbeat_interval=0.5,
                reconnect_delay=0.02,
                max_reconnect_delay=0.2,
            )
        )

    def _listen(self, config: EventBusConfig) -> None:
        """Subscribe, also when the server is away just now."""
        while True:
            try:
                get_event_bus(config).subscribe("circuit_breaker.*", self._hear)
            except RedisConnectionError:
                time.sleep(0.05)
            else:
                return

    def call_on(self) -> None:
        """Make calls, one after the other."""
        while not self.is_over:
            self._look()
            name = self._chance.choice(SERVICES)
            seconds = self._chance.uniform(0.0, 0.01)
            asked = time.time()
            block = self._breakers[name].protect()
            try:
                block.__enter__()
            except CircuitBreakerOpenError as rejected:
                self._note_rejection(name, asked, rejected)
            except Exception as error:
                self._note_surprise(name, asked, error)
            else:
                at, leave = time.time(), block._leave
                time.sleep(seconds * _slowness(leave))
                error = self._fate(name)
                try:
                    block.__exit__(type(error) if error else None, error, None)
                except Exception as surprise:
                    self._note_surprise(name, asked, surprise)
                self._note_call(name, (asked, at), leave, error)
            time.sleep(self._chance.uniform(0.002, 0.01))

    async def call_on_in_loop(self) -> None:
        """Make calls in three tasks."""
        await asyncio.gather(*(self._task() for _ in range(3)))

    async def _task(self) -> None:
        while not self.is_over:
            self._look()
            name = self._chance.choice(SERVICES)
            seconds = self._chance.uniform(0.0, 0.01)
            asked = time.time()
            block = self._breakers[name].protect()
            try:
                await block.__aenter__()
            except CircuitBreakerOpenError as rejected:
                self._note_rejection(name, asked, rejected)
            except Exception as error:
                self._note_surprise(name, asked, error)
            else:
                at, leave = time.time(), block._leave
                await asyncio.sleep(seconds * _slowness(leave))
                error = self._fate(name)
                try:
                    await block.__aexit__(type(error) if error else None, error, None)
                except Exception as surprise:
                    self._note_surprise(name, asked, surprise)
                self._note_call(name, (asked, at), leave, error)
            await asyncio.sleep(self._chance.uniform(0.01, 0.03))

    def _fate(self, name: str) -> ServiceError | None:
        """Services are down now and then, for all processes at the same time."""
        is_down = int(time.time() / 1.3 + 0.7 * SERVICES.index(name)) % 4 == 0
        share = 0.9 if is_down else 0.02
        return ServiceError(name) if self._chance.random() < share else None

    def _note_rejection(self, name: str, asked: float, error: CircuitBreakerOpenError) -> None:
        now = time.time()
        until = error.retry_at.timestamp() if error.retry_at else 0.0
        state = error.state.value
        self._journal.note(CallRecord(asked, now, now, name, "r", state, until=until))

    def _note_surprise(self, name: str, asked: float, error: BaseException) -> None:
        now = time.time()
        self._journal.note(CallRecord(asked, now, now, name, "x", "", detail=repr(error)))

    def _note_call(
        self, name: str, moments: tuple[float, float], leave: Any, error: ServiceError | None
    ) -> None:
        self._journal.note(
            CallRecord(
                *moments,
                time.time(),
                name,
                "f" if error else "s",
                leave.state.value,
                leave.generation,
                leave.epoch,
                leave.token,
            )
        )

    def _hear(self, topic: str, event: Event) -> None:
        data = event.data
        if event.metadata.event_type.startswith("circuit."):
            self._journal.note(
                EventRecord(
                    time.time(),
                    data["service"],
                    data["state"],
                    data["generation"],
                    data["epoch"],
                    event.metadata.event_id,
                )
            )

    def _look(self) -> None:
        if time.monotonic() - self._looked_at < 0.5:
            return
        self._looked_at = time.monotonic()
        sockets = sum(_is_socket(name) for name in os.listdir("/proc/self/fd"))
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._journal.note(HealthRecord(time.time(), sockets, threading.active_count(), resident))


def _slowness(leave: Any) -> float:
    """Probes take longer, so that much happens while they run."""
    return 20.0 if leave.token is not None else 1.0


def _is_socket(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    except OSError:
        return False


def main(orders: Orders) -> None:
    """Work until SIGTERM comes."""
    worker = _Worker(orders)

    def end(*_: object) -> None:
        worker.is_over = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if orders.is_async:
        asyncio.run(worker.call_on_in_loop())
    else:
        worker.call_on()
    shutdown_event_bus()


if __name__ == "__main__":
    main(Orders(**json.loads(sys.argv[1])))
