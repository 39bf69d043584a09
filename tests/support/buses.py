"""What tests of the event bus share: buses that end with the test, and what they hear."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig
from bb5_breaker.event_bus import EventBusConfig, EventType, RedisEventBus
from bb5_breaker.events import Event, EventMetadata

from .running import RunningServer

QUICK: dict[str, Any] = {
    "timeout": 5.0,
    "heartbeat_interval": 0.25,
    "reconnect_delay": 0.01,
    "max_reconnect_delay": 0.1,
}
# Nothing that should happen takes that long, however busy the machine is.
PATIENCE = 20.0


class Heard:
    """A handler that notes what it hears."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Event]] = []

    def __call__(self, topic: str, event: Event) -> None:
        """Note an event."""
        self.events.append((topic, event))

    @property
    def ids(self) -> list[str]:
        """Ids of the events."""
        return [event.metadata.event_id for _, event in self.events]

    @property
    def topics(self) -> list[str]:
        """Topics under which they came."""
        return [topic for topic, _ in self.events]

    @property
    def states(self) -> list[str]:
        """States that circuits entered."""
        return [event.data["state"] for _, event in self.events]


class Buses:
    """Makes buses that end with the test."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._made: list[RedisEventBus] = []

    def make(self, **settings: Any) -> RedisEventBus:
        """Make a bus that is not connected."""
        bus = RedisEventBus(
            EventBusConfig(**({"url": self._url, "prefix": self._prefix} | QUICK | settings))
        )
        self._made.append(bus)
        return bus

    def connect(self, **settings: Any) -> RedisEventBus:
        """Make a connected bus."""
        bus = self.make(**settings)
        bus.connect()
        return bus

    def close(self) -> None:
        """End all of them."""
        for bus in self._made:
            bus.disconnect()


def wait_until(condition: Callable[[], object], what: str = "", seconds: float = PATIENCE) -> None:
    """Wait for a condition, and fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.002)


_numbers = itertools.count()


def make_event(event_id: str | None = None, **data: Any) -> Event:
    """Make an event of no circuit."""
    chosen = event_id if event_id is not None else str(next(_numbers))
    return Event(EventMetadata(chosen, EventType.CUSTOM, "2025-01-18T10:30:00Z"), data)


def drain(bus: RedisEventBus) -> None:
    """Return when all that was published before has been handled: events keep their order."""
    arrived, topic = threading.Event(), f"drain-{next(_numbers)}"

    def handler(topic: str, event: Event) -> None:
        arrived.set()

    bus.subscribe(topic, handler)
    bus.publish(topic, make_event())
    assert arrived.wait(PATIENCE)
    bus.unsubscribe(topic, handler)


def make_breaker(server: RunningServer, service: str, **rules: Any) -> CircuitBreaker:
    """Make a breaker on a server that opens at the first failure."""
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, **rules)
    return CircuitBreaker(service, config, redis=server.client())


def fail(breaker: CircuitBreaker) -> None:
    """Let one call fail."""

    def broken() -> None:
        raise OSError("service is down")

    breaker.call_result(broken)


def warnings_in(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    """Return what was logged with a text in it."""
    return [record for record in caplog.records if text in record.getMessage()]
