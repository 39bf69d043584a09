"""Transitions that happened, as breakers and managers return them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerManager, configure
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.events import EventType
from bb5_breaker.exceptions import StoreDataError, StoreError
from tests.support.buses import wait_until
from tests.support.servers import RunningServer
from tests.support.transitions import flip, make_flipper


@pytest.fixture
def flipper(server: RunningServer, prefix: str) -> CircuitBreaker:
    """A circuit that opens and closes on command."""
    configure(server.url, prefix=prefix, store_timeout=5.0, store_retry_interval=0.05)
    return make_flipper(f"{prefix}-a")


def test_the_latest_transitions_in_their_order(flipper: CircuitBreaker) -> None:
    """All that are kept, or as many as wanted."""
    assert flipper.history() == []
    flip(flipper, 5)
    events = flipper.history()
    assert [event.generation for event in events] == [1, 2, 3, 4, 5]
    assert [event.metadata.event_type for event in events[:2]] == [
        EventType.CIRCUIT_OPENED,
        EventType.CIRCUIT_CLOSED,
    ]
    assert [event.reason for event in events[:2]] == ["failure_threshold", "reset"]
    assert flipper.history(2) == events[3:]
    assert asyncio.run(flipper.history_async(2)) == events[3:]


def test_what_follows_an_event(flipper: CircuitBreaker) -> None:
    """The next ones, so that a long history can be read in pages."""
    flip(flipper, 7)
    events = flipper.history()
    assert flipper.history(2, since="beginning") == events[:2]
    assert flipper.history(2, since=events[1].metadata.event_id) == events[2:4]
    assert flipper.history(since=events[6].metadata.event_id) == []


def test_the_history_of_the_fleet(flipper: CircuitBreaker, prefix: str) -> None:
    """Of all circuits, in the order of time."""
    other = make_flipper(f"{prefix}-b")
    for _ in range(3):
        flip(flipper, 1)
        flip(other, 2)
    manager = CircuitBreakerManager()
    events = manager.history()
    assert sorted(map(str, events)) == sorted(map(str, flipper.history() + other.history()))
    ids = [int(event.metadata.event_id.split("-")[0]) for event in events]
    assert ids == sorted(ids)
    assert manager.history(4) == events[-4:]
    assert manager.history(3, since="beginning") == events[:3]
    assert asyncio.run(manager.history_async()) == events
    of_one = [event for event in events if event.service == other.service_id]
    assert of_one == other.history()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def clock_of(breaker: CircuitBreaker) -> Iterator[list[int]]:
    """Have a breaker's store take the time in ms from a list of one number."""
    store = breaker._link().store
    assert isinstance(store, RedisStore)
    clock = [_now_ms()]
    store._codec._clock = lambda: clock[0]
    yield clock
    store._codec._clock = _now_ms


def test_old_transitions_are_dropped_with_the_next_one(server: RunningServer, prefix: str) -> None:
    """Those that are older than the age that was configured."""
    configure(server.url, prefix=prefix, history_age=60.0, store_timeout=5.0)
    flipper = make_flipper(f"{prefix}-a")
    with clock_of(flipper) as clock:
        begun = clock[0]
        for seconds in (0, 30, 60, 89, 120):
            clock[0] = begun + seconds * 1000
            flip(flipper, 1)
    assert [event.generation for event in flipper.history()] == [3, 4, 5]


def test_a_clock_that_was_set_back_keeps_the_order(flipper: CircuitBreaker) -> None:
    """Ids go on growing, so nothing that follows an id is missed."""
    with clock_of(flipper) as clock:
        begun = clock[0]
        for ms in (0, -5000, -4999, 5000):
            clock[0] = begun + ms
            flip(flipper, 1)
    ids = [event.metadata.event_id.partition(":")[0] for event in flipper.history()]
    assert ids == [f"{begun}-1", f"{begun}-2", f"{begun}-3", f"{begun + 5000}-4"]


def test_entries_that_were_deleted_by_hand_are_no_obstacle(
    flipper: CircuitBreaker, server: RunningServer, prefix: str
) -> None:
    """The stream remembers ids that are gone; the transition is made all the same."""
    flip(flipper, 2)
    key, client = CircuitKeys.of(prefix, flipper.service_id).events, server.client()
    client.execute_command("XSETID", key, "9" * 14 + "-0")
    flip(flipper, 1)
    assert flipper.is_open
    assert [event.generation for event in flipper.history()] == [1, 2, 3]


def test_a_poisoned_history_names_the_key_and_changes_nothing(
    flipper: CircuitBreaker, server: RunningServer, prefix: str
) -> None:
    """An id beyond all times leaves no room for the next one."""
    flip(flipper, 2)
    key, client = CircuitKeys.of(prefix, flipper.service_id).events, server.client()
    client.xadd(key, {"x": "y"}, id=f"{2**64 - 1}-{2**64 - 1}")
    before = client.hgetall(CircuitKeys.of(prefix, flipper.service_id).circuit)
    flip(flipper, 1)
    assert client.hgetall(CircuitKeys.of(prefix, flipper.service_id).circuit) == before
    client.delete(key)
    # It is tried again once an interval, and told then what it did not take.
    state = CircuitKeys.of(prefix, flipper.service_id).circuit
    wait_until(
        lambda: flipper.call_result(int).was_rejected and client.hget(state, "state") == b"open"
    )


def test_foreign_entries_are_left_out(
    flipper: CircuitBreaker, server: RunningServer, prefix: str
) -> None:
    """They are no transitions."""
    flip(flipper, 1)
    key = CircuitKeys.of(prefix, flipper.service_id).events
    server.client().xadd(key, {"state": "open", "service": "another"})
    assert [event.generation for event in flipper.history()] == [1]


def test_a_damaged_history_is_told(
    flipper: CircuitBreaker, server: RunningServer, prefix: str
) -> None:
    """The error names the key."""
    key = CircuitKeys.of(prefix, flipper.service_id).events
    server.client().set(key, "foreign")
    with pytest.raises(StoreDataError, match=key.decode()):
        flipper.history()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit must be"),
        ({"limit": True}, "limit must be"),
        ({"since": "now"}, "nothing follows 'now'"),
        ({"since": "x"}, "no event id"),
    ],
)
def test_wrong_arguments_are_refused(
    flipper: CircuitBreaker, arguments: dict[str, object], message: str
) -> None:
    """By name, before anything is read."""
    with pytest.raises(ValueError, match=message):
        flipper.history(**arguments)  # type: ignore[arg-type]


def test_private_circuits_keep_no_history(prefix: str) -> None:
    """And the error says what to do about it."""
    with pytest.raises(StoreError, match="keeps no history; name a Redis"):
        make_flipper(prefix, redis="private://").history()
