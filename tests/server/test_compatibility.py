"""What BlackBox code relies on beside the specification, and errors that must not come back."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import bb5_breaker
from bb5_breaker import (
    CallResult,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerManager,
    CircuitBreakerOpenError,
    CircuitBreakerPresets,
    CircuitState,
    Event,
    EventType,
    Topics,
    configure,
    get_circuit_breaker_manager,
    get_event_bus,
    shutdown_event_bus,
)
from bb5_breaker.configuration import Settings
from bb5_breaker.events import decode_event
from tests.server.circuits import (
    Ear,
    Service,
    ServiceError,
    eventually,
    fail,
    half_open_breaker,
    open_breaker,
    patient_bus,
    succeed,
)
from tests.support.servers import RunningServer

pytestmark = pytest.mark.calm

NAMES = {
    "circuit_breaker": [
        "CircuitBreaker",
        "CircuitBreakerManager",
        "CircuitBreakerOpenError",
        "for_agent",
        "get_circuit_breaker_manager",
        "protect",
    ],
    "circuit_breaker_types": [
        "CallResult",
        "CircuitBreakerConfig",
        "CircuitBreakerPresets",
        "CircuitBreakerStats",
        "CircuitState",
    ],
    "event_bus": [
        "EventBusConfig",
        "EventType",
        "RedisEventBus",
        "Topics",
        "get_event_bus",
        "shutdown_event_bus",
    ],
    "events": ["CircuitEvent", "Event", "EventMetadata", "EventType", "Topics"],
    "exceptions": [
        "BlackBoxError",
        "CircuitBreakerOpenError",
        "EventBusError",
        "RedisConnectionError",
        "RedisPubSubError",
    ],
}
STATS_KEYS = [
    "total_calls",
    "successful_calls",
    "failed_calls",
    "current_failures",
    "success_rate",
    "failure_rate",
    "last_failure_time",
    "last_success_time",
    "state_transitions",
    "opened_at",
    "current_state",
    "rejection_count",
    "time_since_last_failure",
    "time_since_opened",
]


@pytest.fixture
def configured(server: RunningServer, prefix: str) -> Iterator[RunningServer]:
    """The circuits of this process live on a real server, below a prefix of this test."""
    configure(server.url, prefix=prefix, store_timeout=5.0)
    yield server
    shutdown_event_bus()
    configure()


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """Do some work on a thread of its own; fail when it takes too long, as in a deadlock."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def do() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"not done in {seconds:g} s: a deadlock?"
    if errors:
        raise errors[0]
    return results[0]


class TestNames:
    """Modules, names and values."""

    @pytest.mark.parametrize("module", NAMES)
    def test_modules_have_their_names(self, module: str) -> None:
        """Every name is in its module and its __all__, and the same object in the package."""
        found = importlib.import_module(f"bb5_breaker.{module}")
        for name in NAMES[module]:
            assert getattr(found, name) is getattr(bb5_breaker, name), name
        assert set(NAMES[module]) <= set(found.__all__)
        assert set(NAMES[module]) <= set(bb5_breaker.__all__)

    def test_event_types(self) -> None:
        """Circuit events have their names; the other families exist."""
        assert EventType.CIRCUIT_OPENED.value == "circuit.opened"
        assert EventType.CIRCUIT_CLOSED.value == "circuit.closed"
        assert EventType.CIRCUIT_HALF_OPEN.value == "circuit.half_open"
        assert EventType.CUSTOM.value == "custom"
        families = {str(kind).partition(".")[0] for kind in EventType}
        assert families == {"circuit", "task", "agent", "system", "custom"}
        assert f"{EventType.CIRCUIT_OPENED}" == str(EventType.CIRCUIT_OPENED) == "circuit.opened"

    def test_topics(self) -> None:
        """The topics have their texts; channels begin with the default prefix."""
        assert Topics.CIRCUIT_BREAKER_ALL == "circuit_breaker.*"
        assert Topics.CIRCUIT_BREAKER_STATE == "circuit_breaker.state"
        assert Topics.circuit_breaker_topic("agent.ada") == "circuit_breaker.agent.ada"
        assert Settings().prefix == "circuit_breaker"

    @pytest.mark.parametrize(
        ("owner", "methods"),
        [
            (CircuitBreaker, ["get", "get_all", "reset_all"]),
            (CircuitBreakerManager, ["remove_breaker", "close_all_circuits"]),
            (
                bb5_breaker.RedisEventBus,
                [
                    "connect",
                    "disconnect",
                    "publish",
                    "subscribe",
                    "psubscribe",
                    "unsubscribe",
                    "unsubscribe_all",
                    "state",
                    "is_connected",
                ],
            ),
        ],
    )
    def test_classes_have_what_is_called(self, owner: type, methods: list[str]) -> None:
        """The members beside the specification are there."""
        for name in methods:
            assert inspect.getattr_static(owner, name), name

    def test_optional_arguments_may_be_left_out(self) -> None:
        """What makes the process-wide objects takes an optional first argument of that name."""
        for function, name in (
            (get_event_bus, "config"),
            (bb5_breaker.RedisEventBus, "config"),
            (CircuitBreakerManager, "event_bus"),
            (get_circuit_breaker_manager, "event_bus"),
        ):
            first = next(iter(inspect.signature(function).parameters.values()))
            assert (first.name, first.default) == (name, None)
        agent = inspect.signature(bb5_breaker.for_agent).parameters
        assert list(agent) == ["agent_id", "agent_type"]
        assert agent["agent_type"].default is None

    def test_state_text(self) -> None:
        """str() and f-strings give the bare value."""
        assert str(CircuitState.OPEN) == f"{CircuitState.OPEN}" == "open"


class TestShapes:
    """Figures, results, errors and events, as a real circuit makes them."""

    def test_figures(self, configured: RunningServer) -> None:
        """The keys stand in their order; get_stats() adds the service and its rules."""
        breaker = open_breaker("measured")
        figures = breaker.stats.to_dict()
        assert list(figures)[: len(STATS_KEYS)] == STATS_KEYS
        stats = breaker.get_stats()
        assert list(stats)[: len(STATS_KEYS)] == STATS_KEYS
        assert (stats["service_id"], stats["config"]) == ("measured", breaker.config.to_dict())
        assert json.loads(json.dumps(stats)) == stats
        assert (stats["current_state"], stats["failed_calls"]) == ("open", 1)
        assert stats["time_since_opened"] >= 0
        assert stats["last_failure_time"] == stats["opened_at"]

    def test_rates_are_taken_over_the_window(self, configured: RunningServer) -> None:
        """Rates are of the last calls only, while the totals are of all."""
        config = CircuitBreakerConfig(failure_threshold=100, sliding_window_size=4)
        breaker = CircuitBreaker("windowed", config)
        fail(breaker, times=6)
        succeed(breaker, times=3)
        stats = breaker.get_stats()
        assert (stats["failure_rate"], stats["success_rate"]) == (0.25, 0.75)
        assert (stats["total_calls"], stats["failed_calls"]) == (9, 6)

    def test_results(self, configured: RunningServer) -> None:
        """A call's outcome as a value: success, failure, rejection."""
        breaker = CircuitBreaker("called", CircuitBreakerConfig(failure_threshold=1))
        good, bad, rejected = *succeed(breaker), *fail(breaker), *succeed(breaker)
        assert good == CallResult(
            True, None, good.duration_seconds, False, CircuitState.CLOSED, "done"
        )
        assert (bad.failed, type(bad.exception), bad.was_rejected) == (True, ServiceError, False)
        assert (rejected.failed, rejected.was_rejected) == (False, True)
        assert (rejected.state_at_call, rejected.duration_seconds) == ("open", 0.0)
        assert isinstance(rejected.exception, CircuitBreakerOpenError)
        assert 0 < good.duration_seconds < 60

    def test_rejections(self, configured: RunningServer) -> None:
        """The error tells the service, the time that is left and the failures."""
        breaker = open_breaker("broken", timeout_seconds=60.0)
        with pytest.raises(CircuitBreakerOpenError) as caught:
            breaker.call(Service())
        details = caught.value.to_dict()["details"]
        assert list(details) == ["service", "remaining_seconds", "failure_count"]
        assert (details["service"], details["failure_count"]) == ("broken", 1)
        assert 50 < details["remaining_seconds"] <= 60

    @pytest.mark.parametrize("event_format", ["msgpack", "json"])
    def test_events_on_the_wire(
        self, configured: RunningServer, prefix: str, event_format: str
    ) -> None:
        """A transition is one message on the circuit's channel, with all of the envelope."""
        server = configured
        configure(server.url, prefix=prefix, store_timeout=5.0, event_format=event_format)
        with server.client() as client, client.pubsub(ignore_subscribe_messages=True) as listener:
            listener.psubscribe(f"{prefix}.*")
            listener.get_message(timeout=10)
            open_breaker("agent.ada")
            message = next(_messages(listener))
        assert message["channel"] == f"{prefix}.agent.ada".encode()
        assert message["data"].startswith(b"{") is (event_format == "json")
        event = decode_event(message["data"]).to_dict()
        metadata, data = event["metadata"], event["data"]
        assert metadata["event_id"]
        assert metadata["timestamp"].startswith("20")
        assert {name: metadata[name] for name in metadata.keys() - {"event_id", "timestamp"}} == {
            "event_type": "circuit.opened",
            "priority": "high",
            "source": f"{prefix}.agent.ada",
            "correlation_id": None,
            "causation_id": None,
            "version": "1.0",
        }
        assert list(event) == ["metadata", "data"]
        assert (data["service"], data["state"], data["failure_count"]) == ("agent.ada", "open", 1)
        assert data["last_failure"].startswith("20")

    def test_breakers_of_this_process(self, configured: RunningServer) -> None:
        """The class finds the living breakers by service id, and resets them all."""
        breaker = open_breaker("found")
        assert CircuitBreaker.get("found") is breaker
        assert CircuitBreaker.get_all()["found"] is breaker
        assert CircuitBreaker.get("nowhere") is None
        # Breakers that other tests let go of would be reset as well, where they point.
        gc.collect()
        CircuitBreaker.reset_all()
        assert breaker.is_closed

    def test_managers(self, configured: RunningServer) -> None:
        """close_all_circuits() resets what is open or half-open; breakers can be let go."""
        manager = CircuitBreakerManager()
        shaky = manager.get_breaker("shaky")
        fail(shaky, times=2)
        broken, recovering = open_breaker("broken"), half_open_breaker("recovering")
        manager.close_all_circuits()
        assert broken.is_closed
        assert recovering.is_closed
        assert shaky.stats.current_failures == 2
        assert manager.remove_breaker("shaky") is True
        assert manager.remove_breaker("shaky") is False
        assert get_circuit_breaker_manager() is get_circuit_breaker_manager()


class TestAcceptance:
    """The scenario by which the first users will judge."""

    def test_acceptance(self, configured: RunningServer) -> None:
        """Threshold 2, open for a second: three failing calls open it, two good ones close it."""
        config = CircuitBreakerConfig(failure_threshold=2, timeout_seconds=1.0)
        breaker = CircuitBreaker("accepted", config)
        with pytest.raises(ServiceError):
            breaker.call(Service(up=False))
        with pytest.raises(ServiceError):
            breaker.call(Service(up=False))
        with pytest.raises(CircuitBreakerOpenError):
            breaker.call(Service(up=False))
        assert breaker.is_open
        assert breaker.stats.current_failures == 2

        time.sleep(1.5)  # the scenario's own waiting time, not a wait for us
        assert breaker.call(Service("one")) == "one"
        assert breaker.call(Service("two")) == "two"
        assert breaker.is_closed


class TestDecisions:
    """How the open points are decided, where no other test says it in these words."""

    def test_rejections_at_the_probe_limit_count(self, configured: RunningServer) -> None:
        """A call that finds every place taken is refused and counted; the place comes free."""
        breaker = half_open_breaker("probed")
        with breaker.protect():
            (rejected,) = succeed(breaker)
        assert (rejected.was_rejected, rejected.state_at_call) == (True, CircuitState.HALF_OPEN)
        assert breaker.stats.rejection_count == 1
        assert succeed(breaker)[0].success

    def test_errors_that_do_not_count(self, configured: RunningServer) -> None:
        """An error outside exception_types is raised and counts as nothing; its place is freed."""
        breaker = half_open_breaker("picky", exception_types=(ServiceError,))
        before = breaker.get_stats()
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                breaker.call(lambda: 1 / 0)
        stats = breaker.get_stats()
        for key in ("total_calls", "current_failures", "state_transitions", "rejection_count"):
            assert stats[key] == before[key], key
        assert breaker.is_half_open
        succeed(breaker, times=2)
        assert breaker.is_closed

    def test_reset_timeout_does_not_delay_the_first_entry(self, configured: RunningServer) -> None:
        """It is the time between two entries into half-open: the second waits, not the first."""
        breaker = half_open_breaker("patient", reset_timeout=60.0)
        fail(breaker)
        (rejected,) = succeed(breaker)
        assert isinstance(rejected.exception, CircuitBreakerOpenError)
        assert 50 < rejected.exception.remaining_time <= 60


class TestOldErrors:
    """Behaviours of the first implementation that must not come back."""

    def test_no_configuration_is_needed(self, configured: RunningServer) -> None:
        """No rules, or an agent of an unknown kind, mean the defaults."""
        defaults = CircuitBreakerConfig()
        assert CircuitBreaker("bare").config == defaults
        assert bb5_breaker.for_agent("bare").config == defaults
        assert bb5_breaker.for_agent("bare", "plumber").config == defaults
        assert CircuitBreakerManager().get_breaker("bare", agent_type="plumber").config == defaults
        assert CircuitBreakerPresets.for_agent("plumber") == defaults
        assert bb5_breaker.protect("bare")(lambda: 3)() == 3

    def test_figures_do_not_deadlock(self, configured: RunningServer) -> None:
        """Figures can be read inside a call, and by a bus that hears of a transition."""
        manager = CircuitBreakerManager()
        breaker = manager.get_breaker("read", CircuitBreakerConfig(failure_threshold=1))
        states: list[str] = []

        class Bus:
            def publish(self, topic: str, event: Event) -> None:
                states.append(breaker.get_stats()["current_state"])
                states.append(breaker.stats.to_dict()["current_state"])
                states.append(manager.get_all_stats()["read"]["current_state"])

        breaker.event_bus = Bus()
        assert within(10, lambda: breaker.call(breaker.get_stats))["total_calls"] == 0
        within(10, lambda: fail(breaker))
        assert states == ["open"] * 3
        within(10, breaker.reset)
        assert states[3:] == ["closed"] * 3

    def test_closing_does_not_deadlock(self, configured: RunningServer) -> None:
        """The probe that closes a circuit returns, and its bus hears of it."""
        breaker = half_open_breaker("closing")
        topics: list[str] = []

        class Bus:
            def publish(self, topic: str, event: Event) -> None:
                topics.append(f"{topic} {event.metadata.event_type} {breaker.state}")

        breaker.event_bus = Bus()
        within(10, lambda: succeed(breaker, times=2))
        assert topics == ["circuit_breaker.closing circuit.closed closed"]

    def test_defaults_recover(self, configured: RunningServer) -> None:
        """One probe at a time and two successes: the circuit closes, with calls from any thread."""
        breaker = half_open_breaker("recovering")
        assert (breaker.config.half_open_max_calls, breaker.config.success_threshold) == (1, 2)
        within(10, lambda: succeed(breaker))
        assert breaker.is_half_open
        within(10, lambda: succeed(breaker))
        assert breaker.is_closed

    def test_timeouts_need_no_signal(self, configured: RunningServer) -> None:
        """A call is given up after a part of a second, on any thread, without SIGALRM."""
        before = signal.getsignal(signal.SIGALRM)
        breaker = CircuitBreaker("hanging", CircuitBreakerConfig(call_timeout=0.05))
        release = threading.Event()
        results = [
            breaker.call_result(release.wait, 30),
            within(10, lambda: breaker.call_result(release.wait, 30)),
        ]
        assert signal.getsignal(signal.SIGALRM) is before
        release.set()
        for result in results:
            assert type(result.exception) is TimeoutError
            assert 0.05 <= result.duration_seconds < 0.9
        assert breaker.stats.current_failures == 2

    @pytest.mark.parametrize("off", [0, None])
    def test_no_timeout(self, configured: RunningServer, off: float | None) -> None:
        """Without a deadline a call runs on the thread of its caller."""
        breaker = CircuitBreaker("patient", CircuitBreakerConfig(call_timeout=off))
        assert breaker.call(threading.get_ident) == threading.get_ident()

    def test_blocks_recover(self, configured: RunningServer) -> None:
        """A circuit that blocks opened is closed by blocks."""
        config = CircuitBreakerConfig(failure_threshold=2, timeout_seconds=0.01)
        breaker = CircuitBreaker("blocks", config)
        for _ in range(2):
            with pytest.raises(ServiceError), breaker.protect():
                raise ServiceError
        assert breaker.stats.state_transitions == 1
        eventually(lambda: breaker.is_half_open, "half-open after the open period")
        for _ in range(2):
            with breaker.protect():
                pass
        assert breaker.is_closed
        assert breaker.stats.successful_calls == 2

    def test_coroutines_are_no_early_success(self, configured: RunningServer) -> None:
        """A coroutine function that would fail is never counted as a success."""
        breaker = CircuitBreaker("async")

        async def work() -> None:
            raise ServiceError

        async def call() -> None:
            await breaker.call(work)

        with pytest.raises((TypeError, ServiceError)):
            asyncio.run(call())
        assert breaker.stats.successful_calls == 0

    @pytest.mark.parametrize("topic", [Topics.CIRCUIT_BREAKER_ALL, Topics.CIRCUIT_BREAKER_STATE])
    def test_all_circuits_are_heard(self, configured: RunningServer, topic: str) -> None:
        """Both topics for every circuit bring the events of every circuit."""
        heard = Ear()
        patient_bus().subscribe(topic, heard)
        open_breaker("first").reset()
        open_breaker("agent.second")
        heard.await_events("first open", "first closed", "agent.second open")

    def test_the_bus_reconnects(self, configured: RunningServer) -> None:
        """Subscriptions outlive a lost connection."""
        heard = Ear()
        bus = patient_bus()
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        breaker = open_breaker("lasting")
        heard.await_events("lasting open")
        with configured.client() as client:
            assert client.client_kill_filter(_type="pubsub") >= 1

        def is_heard_again() -> bool:
            # What happens between the cut and the new connection is told to nobody.
            breaker.reset()
            fail(breaker)
            return len(heard.events) >= 3

        eventually(is_heard_again, "events after the connection was cut")
        assert bus.is_connected

    def test_handlers_may_subscribe(self, configured: RunningServer) -> None:
        """A handler that subscribes, publishes to and leaves the bus does not deadlock."""
        bus, heard, late = patient_bus(), Ear(), Ear()

        def handler(topic: str, event: Event) -> None:
            bus.subscribe("circuit_breaker.second", late)
            bus.unsubscribe("circuit_breaker.first", handler)
            heard(topic, event)

        bus.subscribe("circuit_breaker.first", handler)
        first = open_breaker("first")
        heard.await_events("first open")
        first.reset()
        open_breaker("second")
        late.await_events("second open")
        assert heard.events == ["first open"]

    def test_nothing_is_delivered_twice(self, configured: RunningServer) -> None:
        """A handler under a topic, a pattern and the state topic hears an event once."""
        bus, heard = patient_bus(), Ear()
        bus.subscribe("circuit_breaker.single", heard)
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        bus.subscribe(Topics.CIRCUIT_BREAKER_STATE, heard)
        bus.psubscribe("circuit_breaker.sing?e", heard)
        breaker = open_breaker("single")
        breaker.reset()
        # Events come in the order of publication: with the last one all are there.
        open_breaker("last")
        heard.await_events("single open", "single closed", "last open")

    def test_reset_is_seen_in_the_figures(self, configured: RunningServer) -> None:
        """After reset() the figures tell the closed state, and no failures or opening."""
        breaker = open_breaker("reset")
        breaker.reset()
        stats = breaker.get_stats()
        assert stats["current_state"] == "closed"
        assert (stats["current_failures"], stats["opened_at"]) == (0, None)
        assert stats["time_since_opened"] is None
        assert breaker.is_closed


def _messages(listener: Any) -> Iterator[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        message = listener.get_message(timeout=0.1)
        if message:
            yield message
    raise AssertionError("no message in 10 s")
