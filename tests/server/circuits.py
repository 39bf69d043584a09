"""Doubles of guarded services, and circuits brought into a state through them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bb5_breaker import (
    CallResult,
    CircuitBreaker,
    CircuitBreakerConfig,
    Event,
    EventBusConfig,
    RedisEventBus,
    get_event_bus,
)


class ServiceError(Exception):
    """What the doubles of services raise."""


class Service:
    """Something to be called: it notes its arguments, and fails while it is down."""

    def __init__(self, result: object = "done", *, up: bool = True) -> None:
        self.result = result
        self.up = up
        self.calls: list[tuple[Any, ...]] = []

    def execute(self, *arguments: Any) -> Any:
        """Return the result, or raise."""
        self.calls.append(arguments)
        if not self.up:
            raise ServiceError("service is down")
        return self.result

    __call__ = execute


class Notebook:
    """A function that only notes what it is told: alert, warn, log_error and the like."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: object) -> None:
        """Note a text."""
        self.lines.append(str(text))


def fail(breaker: CircuitBreaker, times: int = 1) -> list[CallResult]:
    """Let calls of a breaker fail."""
    return [breaker.call_result(Service(up=False)) for _ in range(times)]


def succeed(breaker: CircuitBreaker, times: int = 1) -> list[CallResult]:
    """Let calls of a breaker succeed."""
    return [breaker.call_result(Service()) for _ in range(times)]


def open_breaker(service_id: str, **rules: Any) -> CircuitBreaker:
    """Make a breaker whose circuit is open."""
    breaker = CircuitBreaker(service_id, CircuitBreakerConfig(failure_threshold=1, **rules))
    fail(breaker)
    assert breaker.stats.state_transitions == 1
    return breaker


def half_open_breaker(service_id: str, **rules: Any) -> CircuitBreaker:
    """Make a breaker whose circuit is half-open."""
    breaker = open_breaker(service_id, timeout_seconds=0.01, **rules)
    eventually(lambda: breaker.is_half_open, "half-open after the open period")
    return breaker


class Ear:
    """A handler that notes which circuit entered which state."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, topic: str, event: Event) -> None:
        """Note an event."""
        self.events.append(f"{event.data['service']} {event.data['state']}")

    def await_events(self, *expected: str) -> None:
        """Wait for as many events, and compare them."""
        eventually(lambda: len(self.events) >= len(expected), f"events {expected}")
        assert self.events == list(expected)


def patient_bus() -> RedisEventBus:
    """Return the bus of this process, which no busy machine makes reconnect or give up."""
    return get_event_bus(EventBusConfig(timeout=10.0, heartbeat_interval=10.0))


def eventually(holds: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it does not within that time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)
