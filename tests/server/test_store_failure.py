"""What calls get while the store is away, what is seen of it, and what is told when it is back."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from bb5_breaker import (
    CircuitBreaker,
    CircuitBreakerManager,
    Event,
    EventType,
    StoreError,
    StoreRefusedError,
    StoreState,
    StoreUnavailableError,
    Topics,
    configure,
)
from tests.server.cached import await_trust
from tests.server.circuits import eventually
from tests.support.buses import Buses
from tests.support.servers import RunningServer
from tests.support.workers_circuit import Keys, fail_once, make_breaker

_SETTINGS = {"store_timeout": 0.2, "store_retry_interval": 0.05}


async def _one() -> int:
    return 1


def _away(breaker: CircuitBreaker) -> bool:
    return breaker.store_status.state is StoreState.UNAVAILABLE


def _here(breaker: CircuitBreaker) -> bool:
    return breaker.store_status.state is StoreState.CONNECTED


def _breaker(
    server: RunningServer, prefix: str, mode: str = "cached", **rules: Any
) -> CircuitBreaker:
    return make_breaker(server.url, prefix, settings={**_SETTINGS, "consistency": mode}, **rules)


class TestWhileItIsAway:
    """The server is stopped, and the process configured to do this or that about it."""

    @pytest.fixture
    def dead(self, own_server: RunningServer, prefix: str) -> RunningServer:
        """A server that has gone."""
        own_server.kill()
        configure(own_server.url, prefix=prefix, **{**_SETTINGS, "store_retry_interval": 60.0})
        return own_server

    def test_all_calls_are_rejected(self, dead: RunningServer) -> None:
        """With "open", as if the circuit were open; the error names what is wrong."""
        breaker = CircuitBreaker("svc", on_store_failure="open")
        for _ in range(3):
            result = breaker.call_result(int)
            assert result.was_rejected
            assert result.exception.last_error == "StoreUnavailableError"
            assert 0 < result.exception.remaining_time <= 75.0
        result = asyncio.run(breaker.call_result(_one))
        assert result.was_rejected

    def test_all_calls_run(self, dead: RunningServer) -> None:
        """With "closed", however many fail."""
        breaker = CircuitBreaker("svc", on_store_failure="closed")
        for _ in range(20):
            fail_once(breaker)
        assert breaker.call(int) == 0
        assert asyncio.run(breaker.call(_one)) == 1

    def test_calls_raise(self, dead: RunningServer) -> None:
        """With "raise", and do not run; each error is an object of its own."""
        breaker = CircuitBreaker("svc", on_store_failure="raise")
        ran: list[int] = []
        errors = []
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="can not be reached") as caught:
                breaker.call(ran.append, 1)
            errors.append(caught.value)
        with pytest.raises(StoreUnavailableError, match="can not be reached"):
            asyncio.run(breaker.call(_one))
        assert errors[0] is not errors[1]
        assert ran == []

    def test_the_process_guards_them_alone(self, dead: RunningServer) -> None:
        """With "local", the default, by the same rules."""
        breaker = CircuitBreaker("svc")
        for _ in range(5):
            fail_once(breaker)
        assert breaker.call_result(int).was_rejected
        assert breaker.store_status.on_failure == "local"

    def test_the_process_and_a_manager_set_it_for_many(
        self, dead: RunningServer, prefix: str
    ) -> None:
        """A breaker's own word comes first."""
        manager = CircuitBreakerManager(on_store_failure="closed")
        configure(dead.url, prefix=prefix, on_store_failure="open", store_timeout=0.2)
        assert CircuitBreaker("svc").call_result(int).was_rejected
        assert manager.get_breaker("svc").call(int) == 0

    def test_a_call_that_runs_while_it_goes_away_keeps_its_result(
        self, own_server: RunningServer, prefix: str
    ) -> None:
        """Even with "raise": what was admitted is not told of the store's fate."""
        configure(own_server.url, prefix=prefix, consistency="strict", **_SETTINGS)
        breaker = CircuitBreaker("svc", on_store_failure="raise")
        assert breaker.call(lambda: own_server.kill() or "mine") == "mine"
        with pytest.raises(StoreError):
            breaker.call(int)


@pytest.mark.parametrize("name", ["", "Local", None, 3])
def test_a_rule_that_is_none_is_refused(name: Any, prefix: str) -> None:
    """Before anything is made."""
    with pytest.raises(ValueError, match="'local', 'open', 'closed' or 'raise'"):
        configure("redis://127.0.0.1:1", prefix=prefix, on_store_failure=name)
    if name is not None:
        with pytest.raises(ValueError, match="'local', 'open', 'closed' or 'raise'"):
            CircuitBreaker("svc", on_store_failure=name)
        with pytest.raises(ValueError, match="'local', 'open', 'closed' or 'raise'"):
            CircuitBreakerManager(on_store_failure=name)


def test_the_status_tells_how_things_are(own_server: RunningServer, prefix: str) -> None:
    """Without a secret, and without asking."""
    breaker = _breaker(own_server, prefix)
    assert breaker.call(int) == 0
    assert _here(breaker)
    assert breaker.get_stats()["store"]["state"] == "connected"
    own_server.kill()
    eventually(lambda: breaker.call(int) == 0 and _away(breaker), "it is missed")
    status = breaker.store_status
    assert "can not be reached" in str(status.error)
    assert status.seconds is not None
    assert 0.0 <= status.seconds < 60.0
    assert not status.is_shared
    own_server.restart()
    eventually(lambda: _here(breaker), "it is seen to be back without a call")
    assert breaker.store_status.error is None


def test_foreign_data_is_the_circuits_own_trouble(own_server: RunningServer, prefix: str) -> None:
    """The status names the key until it is repaired; the store itself is well."""
    breaker, other = _breaker(own_server, prefix), CircuitBreaker("other")
    client, keys = own_server.client(), Keys(own_server.client(), prefix)
    client.rpush(keys.circuit, "foreign")
    assert breaker.call(int) == 0
    breaker_state = breaker.store_status
    assert breaker_state.state is StoreState.DAMAGED
    assert keys.circuit in str(breaker_state.error)
    assert other.call(int) == 0
    assert _here(other)
    client.delete(keys.circuit)
    eventually(lambda: breaker.call(int) == 0 and _here(breaker), "it is well again")
    eventually(lambda: keys.field("total_successes"), "and counts there")


def test_a_private_circuit_is_private(
    prefix: str, monkeypatch: pytest.MonkeyPatch, own_server: RunningServer
) -> None:
    """Nothing is wrong, and nothing is shared."""
    monkeypatch.setattr("bb5_breaker._store.opening._default_target", lambda: "private")
    from bb5_breaker._store import opening

    monkeypatch.setattr(opening, "_make", lambda *_: opening.PrivateStore(), raising=True)
    monkeypatch.delenv("BB5_REDIS_URL", raising=False)
    configure(prefix=prefix)
    status = CircuitBreaker("svc").store_status
    assert (status.state, status.error, status.is_shared) == (StoreState.PRIVATE, None, False)


class _Noting:
    """An event bus of the user's own."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def publish(self, topic: str, event: Any) -> None:
        """Take an event."""
        self.events.append((topic, event.metadata.event_type))


def test_both_changes_are_told_in_the_process(
    own_server: RunningServer, own_buses: Buses, prefix: str
) -> None:
    """Once each, to the subscribers of its event bus and to a bus of the user's own."""
    heard: list[tuple[EventType | str, Any]] = []

    def hear(topic: str, event: Event) -> None:
        heard.append((event.metadata.event_type, event.data.get("error")))

    noting = _Noting()
    breaker = _breaker(own_server, prefix)
    breaker.event_bus = noting
    bus = own_buses.connect()
    bus.subscribe(Topics.STORE, hear)
    breaker.call(int)
    own_server.kill()
    eventually(lambda: breaker.call(int) == 0 and _away(breaker), "it is missed")
    eventually(lambda: heard, "it is told")
    own_server.restart()
    eventually(lambda: len(heard) >= 2 and len(noting.events) >= 2, "that it is back is told")
    assert [kind for kind, _ in heard] == [EventType.STORE_UNAVAILABLE, EventType.STORE_AVAILABLE]
    assert "can not be reached" in heard[0][1]
    assert heard[1][1] is None
    assert noting.events == [
        (Topics.STORE, EventType.STORE_UNAVAILABLE),
        (Topics.STORE, EventType.STORE_AVAILABLE),
    ]


class TestWhenItIsBack:
    """What happened meanwhile is counted once, and the fleet is protected by it."""

    @pytest.mark.parametrize("mode", ["cached", "strict"])
    def test_everything_is_counted_once(
        self, own_server: RunningServer, prefix: str, mode: str
    ) -> None:
        """Calls before, while and after a server was frozen, in several threads."""
        breaker = _breaker(own_server, prefix, mode, failure_threshold=1_000_000)
        keys = Keys(own_server.client(), prefix)
        breaker.call(int)
        over, counts = threading.Event(), [0] * 6

        def work(place: int) -> None:
            while not over.is_set():
                if place % 2:
                    fail_once(breaker)
                else:
                    breaker.call(int)
                counts[place] += 1
                time.sleep(0.002)

        threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            time.sleep(0.1)
            own_server.pause()
            eventually(lambda: _away(breaker), "it is missed")
            time.sleep(0.2)
            own_server.resume()
            eventually(lambda: _here(breaker), "it is back")
        over.set()
        for thread in threads:
            thread.join()
        good, bad = 1 + sum(counts[::2]), sum(counts[1::2])
        eventually(lambda: keys.field("total_failures") == str(bad), "failures are counted")
        eventually(lambda: keys.field("total_successes") == str(good), "successes are counted")
        breaker.flush()
        assert (keys.field("total_successes"), keys.field("total_failures")) == (
            str(good),
            str(bad),
        )

    def test_failures_of_meanwhile_open_the_circuit_for_all(
        self, own_server: RunningServer, prefix: str
    ) -> None:
        """No call is let through that this process would have rejected a moment ago."""
        breaker = _breaker(own_server, prefix, failure_threshold=3)
        other = CircuitBreaker("svc", breaker.config, redis=own_server.client())
        breaker.call(int)
        other.call(int)
        own_server.pause()
        for _ in range(3):
            fail_once(breaker)
        ran: list[int] = []
        assert breaker.call_result(ran.append, 1).was_rejected
        own_server.resume()
        while not _here(breaker):
            assert breaker.call_result(ran.append, 1).was_rejected
        assert breaker.call_result(ran.append, 1).was_rejected
        assert ran == []
        eventually(lambda: other.call_result(int).was_rejected, "the other one knows")
        assert Keys(own_server.client(), prefix).transitions() == [("open", 1)]


class TestAServerThatTakesNoWrites:
    """It answers, so nobody waits; but it refuses."""

    def test_no_transition_is_announced_that_was_not_made(
        self, own_server: RunningServer, own_buses: Buses, prefix: str
    ) -> None:
        """Out of memory, a script may publish; it must not."""
        breaker = _breaker(own_server, prefix, failure_threshold=2)
        heard: list[Event] = []
        own_buses.connect().subscribe(
            Topics.circuit_breaker_topic("svc"), lambda _, event: heard.append(event)
        )
        fail_once(breaker)
        client = own_server.client()
        client.config_set("maxmemory", 1)
        fail_once(breaker)
        assert breaker.call_result(int).was_rejected
        assert breaker.store_status.state is StoreState.UNAVAILABLE
        assert "maxmemory" in str(breaker.store_status.error)
        keys = Keys(client, prefix)
        assert (keys.field("state"), keys.transitions(), heard) == ("closed", [], [])
        client.config_set("maxmemory", 0)
        eventually(
            lambda: breaker.call_result(int).was_rejected and keys.field("state") == "open",
            "the circuit opens for all",
        )
        eventually(lambda: [event.data["state"] for event in heard] == ["open"], "it is told")

    def test_reports_are_kept_and_counted_once(
        self, own_server: RunningServer, prefix: str
    ) -> None:
        """Successes that were refused are reported as soon as they are taken."""
        breaker = _breaker(own_server, prefix)
        client, keys = own_server.client(), Keys(own_server.client(), prefix)
        await_trust(breaker, client)
        breaker.flush()
        before = int(keys.field("total_successes"))
        client.config_set("maxmemory", 1)
        for _ in range(10):
            breaker.call(int)
        with pytest.raises(StoreRefusedError, match="maxmemory"):
            breaker.flush()
        for _ in range(10):
            breaker.call(int)
        client.config_set("maxmemory", 0)
        eventually(lambda: keys.field("total_successes") == str(before + 20), "all are counted")
