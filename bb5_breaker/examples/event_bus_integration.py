"""Example 6: hearing of every change, wherever it was made."""

from __future__ import annotations

from queue import Empty, Queue

from bb5_breaker import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    Event,
    EventType,
    Topics,
    get_event_bus,
)
from bb5_breaker.examples.stage import (
    ExampleError,
    await_state,
    check,
    forgetting,
    say,
    unique_name,
)

__all__ = ["event_bus_integration"]

LIFE_OF_A_CIRCUIT = [
    EventType.CIRCUIT_OPENED,
    EventType.CIRCUIT_HALF_OPEN,
    EventType.CIRCUIT_CLOSED,
]


def event_bus_integration() -> None:
    """A subscriber hears of every transition once, whichever process made it."""
    rules = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=0.2, success_threshold=1)
    breaker = CircuitBreaker(unique_name("inventory"), rules)
    # Topics.CIRCUIT_BREAKER_ALL would bring the events of every circuit.
    topic = Topics.circuit_breaker_topic(breaker.service_id)
    heard: Queue[Event] = Queue()

    def note(topic: str, event: Event) -> None:
        # Runs on the bus's thread: hand on what was heard, and return soon.
        heard.put(event)

    bus = get_event_bus()
    bus.subscribe(topic, note)
    try:
        with forgetting(breaker):
            breaker.call_result(_fail)
            await_state(breaker, CircuitState.HALF_OPEN)
            breaker.call(str, "well again")
            events = [_take(heard) for _ in LIFE_OF_A_CIRCUIT]
    finally:
        bus.unsubscribe(topic, note)
    types = [event.metadata.event_type for event in events]
    check(types == LIFE_OF_A_CIRCUIT, "it opened, was half-open and closed, in this order")
    check(heard.empty(), "and each was told once")


def _fail() -> None:
    raise ConnectionError("no stock list")


def _take(heard: Queue[Event]) -> Event:
    try:
        event = heard.get(timeout=10)
    except Empty:
        raise ExampleError("an event should have come by now") from None
    say(f"heard {event.metadata.event_type}, failure count {event.data['failure_count']}")
    return event
