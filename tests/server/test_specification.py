"""Every block of Python in the specification runs, and does what it is there to show."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from enum import Enum
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

import bb5_breaker
from bb5_breaker import (
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
from tests.server.circuits import (
    Ear,
    Notebook,
    Service,
    ServiceError,
    eventually,
    fail,
    half_open_breaker,
    open_breaker,
    patient_bus,
    succeed,
)
from tests.server.specification import Block, find_specification, read_blocks
from tests.support.servers import RunningServer

pytestmark = pytest.mark.calm

Test = TypeVar("Test", bound=Callable[..., None])
Capture = pytest.CaptureFixture[str]

# What the blocks use without an import: all that the package offers.
OFFERED: dict[str, Any] = {name: getattr(bb5_breaker, name) for name in bb5_breaker.__all__}
TESTED: set[str] = set()
DEFAULT_THRESHOLD = 5


def block(name: str) -> Callable[[Test], Test]:
    """Say which block of the specification a test is about."""

    def mark(test: Test) -> Test:
        TESTED.add(name)
        test.block_name = name  # type: ignore[attr-defined]
        return test

    return mark


class Play:
    """One block and the names it takes for granted."""

    def __init__(self, block: Block) -> None:
        self.block = block

    def run(self, **names: Any) -> SimpleNamespace:
        """Execute the block with these names beside the package's, and return all names."""
        return SimpleNamespace(**self.run_in({**OFFERED, **names}))

    def run_in(self, names: dict[str, Any]) -> dict[str, Any]:
        """Execute the block in a dict of names, which keeps what was assigned before an error."""
        exec(self.block.code, names)
        return names


@pytest.fixture(scope="module")
def blocks() -> dict[str, Block]:
    """The blocks of the specification, which is not part of this repository."""
    place = find_specification()
    if place is None:
        pytest.skip("no specification beside this repository; BB5_SPECIFICATION can name one")
    return read_blocks(place.read_text())


@pytest.fixture
def configured(any_server: RunningServer, prefix: str) -> Iterator[None]:
    """The circuits of this process live on a real server, below a prefix of this test."""
    configure(any_server.url, prefix=prefix, store_timeout=5.0)
    yield
    shutdown_event_bus()
    manager = get_circuit_breaker_manager()
    for service in manager.get_all_stats():
        manager.remove_breaker(service)
    configure()


@pytest.fixture
def play(request: pytest.FixtureRequest, blocks: dict[str, Block], configured: None) -> Play:
    """The block that the test is about."""
    return Play(blocks[request.function.block_name])


def listen() -> Ear:
    """Listen to all circuits."""
    ear = Ear()
    patient_bus().subscribe(Topics.CIRCUIT_BREAKER_ALL, ear)
    return ear


def total_calls(service_id: str) -> int:
    """Return the fleet's calls of a circuit."""
    return CircuitBreaker(service_id).stats.total_calls


def test_every_block_is_tested(blocks: dict[str, Block]) -> None:
    """No block of the specification is left out here, and no test is about one that is gone."""
    assert set(blocks) == TESTED


@block("Basic Usage")
def test_basic_usage(play: Play, capsys: Capture) -> None:
    """The first example prints the result, then each failure, then that it uses a fallback."""
    agent = Service("an answer")
    cb = play.run(agent=agent, task_data={"n": 1}).cb
    assert capsys.readouterr().out == "Success: an answer\n"
    assert agent.calls == [({"n": 1},)]
    assert (cb.config.timeout_seconds, cb.config.success_threshold) == (60.0, 2)

    agent.up = False
    for _ in range(DEFAULT_THRESHOLD):
        play.run(agent=agent, task_data=None)
        assert capsys.readouterr().out == "Agent failed: service is down\n"
    play.run(agent=agent, task_data=None)
    assert capsys.readouterr().out == "Circuit is open, using fallback\n"
    assert len(agent.calls) == 1 + DEFAULT_THRESHOLD


@block("Using Decorator")
def test_using_decorator(play: Play) -> None:
    """The decorated function keeps its name, runs as before, and is counted."""
    names = play.run()
    assert names.result is None
    assert names.risky_function.__name__ == "risky_function"
    assert total_calls("my-service") == 1


@block("For Agents")
def test_for_agents(play: Play) -> None:
    """An agent has the circuit agent.<id> with the rules of its kind; open circuits are handled."""
    names = play.run(agent=Service("notes"), task="fuses")
    assert names.result == "notes"
    assert names.cb.service_id == "agent.researcher"
    assert names.cb.config == CircuitBreakerPresets.for_agent("llm")

    fail(names.cb, times=3)
    assert not hasattr(play.run(agent=Service(), task="fuses"), "result")


@block("Preset Configurations")
def test_preset_configurations(play: Play) -> None:
    """Every preset can be made; the last shown is that of file agents."""
    assert play.run().config == CircuitBreakerPresets.for_agent("file")


@block("Choosing Configuration")
def test_choosing_configuration_for_models(play: Play) -> None:
    """The advice for language models is a valid configuration."""
    assert _set_fields(play.run().config) == {
        "failure_threshold": 3,
        "timeout_seconds": 90.0,
        "call_timeout": 120.0,
    }


@block("Choosing Configuration #2")
def test_choosing_configuration_for_files(play: Play) -> None:
    """The advice for files is a valid configuration."""
    # The threshold that it names is the default.
    assert _set_fields(play.run().config) == {"timeout_seconds": 30.0, "call_timeout": 10.0}


@block("Transition Events")
def test_transition_events(play: Play) -> None:
    """Real transitions have the shown payloads: keys, types, states and counts."""
    shown = dict(zip(_event_names(play.block), play.block.dicts, strict=True))
    assert list(shown) == ["CIRCUIT_OPENED", "CIRCUIT_HALF_OPEN", "CIRCUIT_CLOSED"]
    heard: list[Event] = []
    patient_bus().subscribe(Topics.CIRCUIT_BREAKER_ALL, lambda topic, event: heard.append(event))
    breaker = CircuitBreaker("agent.researcher", CircuitBreakerConfig(timeout_seconds=0.01))
    fail(breaker, DEFAULT_THRESHOLD)
    eventually(lambda: breaker.is_half_open, "half-open after the open period")
    succeed(breaker, times=2)
    eventually(lambda: len(heard) == 3, "three events")
    for (name, payload), event in zip(shown.items(), heard, strict=True):
        assert event.metadata.event_type is EventType[name]
        for key, value in payload.items():
            assert type(event.data[key]) is type(value), key
        fixed = payload.keys() - {"last_failure"}
        assert {key: event.data[key] for key in fixed} == {key: payload[key] for key in fixed}


@block("Pattern 1: Basic Protection")
def test_basic_protection(play: Play) -> None:
    """Results come through, errors are logged and raised, an open circuit means the fallback."""
    service, log = Service("fresh"), Notebook()
    run = play.run(
        risky_function=service,
        arg1=1,
        arg2=2,
        get_fallback_result=lambda: "stale",
        log_error=log,
    ).execute_with_protection
    assert run() == "fresh"
    assert service.calls == [(1, 2)]

    service.up = False
    for _ in range(DEFAULT_THRESHOLD):
        with pytest.raises(ServiceError):
            run()
    assert log.lines == ["service is down"] * DEFAULT_THRESHOLD
    assert run() == "stale"
    assert len(service.calls) == 1 + DEFAULT_THRESHOLD


@block("Pattern 2: Retry with Backoff")
def test_retry_with_backoff(play: Play) -> None:
    """Failures are tried again, three times in all; a rejection is not."""
    names = play.run_in(dict(OFFERED))
    pauses: list[int] = []
    names["time"] = SimpleNamespace(sleep=pauses.append)
    run, down = names["execute_with_retry"], Service(up=False)
    with pytest.raises(ServiceError):
        run(CircuitBreaker("retried"), down)
    assert (len(down.calls), pauses) == (3, [1, 2])
    assert run(CircuitBreaker("retried"), Service("at last")) == "at last"

    rejected = Service()
    with pytest.raises(CircuitBreakerOpenError):
        run(open_breaker("broken"), rejected)
    assert (rejected.calls, pauses) == ([], [1, 2])


@block("Pattern 3: Fallback Chain")
def test_fallback_chain(play: Play) -> None:
    """The first service whose circuit is not open answers; with none left the chain gives up."""
    run = play.run().execute_with_fallbacks
    fallbacks = [Service("second"), Service("third")]
    assert run(Service("first"), fallbacks) == "first"
    fail(CircuitBreaker("primary"), DEFAULT_THRESHOLD)
    assert run(Service("first"), fallbacks) == "second"
    fail(CircuitBreaker("fallback-0"), DEFAULT_THRESHOLD)
    assert run(Service("first"), fallbacks) == "third"
    fail(CircuitBreaker("fallback-1"), DEFAULT_THRESHOLD)
    with pytest.raises(Exception, match="All services down"):
        run(Service("first"), fallbacks)


@block("Pattern 4: Multi-Agent Coordination")
def test_multi_agent_coordination(play: Play) -> None:
    """Each agent gets the last result; one with an open circuit is skipped, a failure ends it."""
    agents = {name: Service(f"by {name}") for name in ("researcher", "writer", "reviewer")}
    warnings, errors = Notebook(), Notebook()
    run = play.run(
        get_agent=agents.__getitem__, log_warning=warnings, log_error=errors
    ).coordinate_task
    run("task")
    assert [agent.calls for agent in agents.values()] == [
        [("task",)],
        [("by researcher",)],
        [("by writer",)],
    ]

    open_breaker("agent.writer")
    run("task")
    assert agents["reviewer"].calls[-1] == ("by researcher",)
    assert warnings.lines == ["Agent writer circuit open, skipping"]

    agents["researcher"].up = False
    run("task")
    assert errors.lines == ["Agent researcher failed: service is down"]
    assert len(agents["reviewer"].calls) == 2


@block("Pattern 5: Statistics Monitoring")
def test_statistics_monitoring(play: Play) -> None:
    """Open circuits and high failure rates of the whole fleet are told, and too many open ones."""
    alerts, warnings = Notebook(), Notebook()
    run = play.run(alert=alerts, warn=warnings).monitor_circuit_breakers
    fail(CircuitBreaker("shaky"), times=2)
    succeed(CircuitBreaker("shaky"))
    succeed(CircuitBreaker("healthy"))
    broken = [f"broken-{number}" for number in range(4)]
    for service in broken:
        open_breaker(service)
    run()
    assert sorted(alerts.lines[:4]) == [f"Circuit open for {service}" for service in broken]
    assert alerts.lines[4:] == [f"Too many open circuits: {broken}"]
    assert warnings.lines == [f"High failure rate for shaky: {2 / 3}"]


@block("Setting Up Event Bus Integration")
def test_setting_up_event_bus_integration(play: Play, capsys: Capture) -> None:
    """The shown handler prints every change of state, once, of breakers that the manager makes."""
    ear = listen()
    names = play.run()
    breaker = names.manager.get_breaker("watched", CircuitBreakerConfig(failure_threshold=1))
    fail(breaker)
    breaker.reset()
    open_breaker("last")
    # Handlers run one after the other: what came before the last event is printed.
    ear.await_events("watched open", "watched closed", "last open")
    lines = capsys.readouterr().out.splitlines()[:2]
    assert all(line.startswith("Circuit state changed: {") for line in lines)
    shown = [ast.literal_eval(line.partition(": ")[2]) for line in lines]
    assert [(data["service"], data["state"]) for data in shown] == [
        ("watched", "open"),
        ("watched", "closed"),
    ]


@block("Event-Driven Responses")
def test_event_driven_responses(play: Play) -> None:
    """The handler acts when a circuit opens, and not when it closes."""
    alerts, log, activated = Notebook(), Notebook(), Notebook()
    ear = listen()
    play.run(
        event_bus=get_event_bus(), send_alert=alerts, log_event=log, activate_fallback=activated
    )
    open_breaker("guarded").reset()
    succeed(half_open_breaker("last"), times=2)
    ear.await_events("guarded open", "guarded closed", "last open", "last half_open", "last closed")
    assert alerts.lines == ["Circuit opened for guarded", "Circuit opened for last"]
    assert log.lines == ["Circuit breaker opened: guarded", "Circuit breaker opened: last"]
    assert activated.lines == ["guarded", "last"]


@block("Monitoring Dashboard")
def test_monitoring_dashboard(play: Play, capsys: Capture) -> None:
    """The monitor holds the latest state of every circuit, and prints each change."""
    ear = listen()
    monitor = play.run().CircuitMonitor(get_event_bus())
    fail(CircuitBreaker("database"), DEFAULT_THRESHOLD)
    open_breaker("mail").reset()
    open_breaker("last")
    ear.await_events("database open", "mail open", "mail closed", "last open")
    assert capsys.readouterr().out.splitlines()[:3] == [
        "[database] open - 5 failures",
        "[mail] open - 1 failures",
        "[mail] closed - 0 failures",
    ]
    database, mail = monitor.state["database"], monitor.state["mail"]
    assert (database["state"], database["failure_count"]) == ("open", DEFAULT_THRESHOLD)
    assert database["timestamp"].startswith("20")
    assert (mail["state"], mail["failure_count"]) == ("closed", 0)


@block("Choose Appropriate Thresholds")
def test_choose_appropriate_thresholds(play: Play) -> None:
    """Two breakers with other rules for one service share its circuit."""
    cb = play.run().cb
    assert (cb.config.failure_threshold, cb.config.timeout_seconds) == (5, 60.0)
    fail(cb, DEFAULT_THRESHOLD)
    assert CircuitBreaker("database").is_open


@block("Use Agent-Specific Configs")
def test_use_agent_specific_configs(play: Play) -> None:
    """The breaker made by hand has the rules of the one that for_agent() makes."""
    cb = play.run().cb
    assert cb.service_id == "agent.researcher"
    assert cb.config == bb5_breaker.for_agent("researcher", agent_type="llm").config


@block("Monitor Statistics")
def test_monitor_statistics(play: Play) -> None:
    """The hourly check warns of a failure rate above 0.3 and of more than 100 rejections."""
    warnings = Notebook()
    names = play.run(warn=warnings)
    succeed(names.cb, times=3)
    fail(names.cb)
    names.hourly_check()
    assert warnings.lines == []

    fail(names.cb, DEFAULT_THRESHOLD - 1)
    assert [call.was_rejected for call in fail(names.cb, times=101)] == [True] * 101
    names.hourly_check()
    assert warnings.lines == [f"High failure rate: {5 / 8}", "High rejection count: 101"]


@block("Handle Open Circuits Gracefully")
def test_handle_open_circuits_gracefully(play: Play) -> None:
    """The good half answers from the cache; the bad half lets the rejection through."""
    notices, primary = Notebook(), Service("fresh")
    names: dict[str, Any] = {
        **OFFERED,
        "cb": CircuitBreaker("primary"),
        "primary_service": primary,
        "get_cached_result": lambda: "cached",
        "notify_admins": notices,
    }
    assert play.run_in(names)["result"] == "fresh"
    assert (len(primary.calls), notices.lines) == (2, [])

    fail(names["cb"], DEFAULT_THRESHOLD)
    with pytest.raises(CircuitBreakerOpenError):
        play.run_in(names)
    assert (names["result"], notices.lines) == ("cached", ["Primary service down"])


@block("Use Context Managers for Cleanup")
def test_use_context_managers_for_cleanup(play: Play) -> None:
    """A block runs guarded; where the circuit opened meanwhile, the fallback takes its place."""
    cb = CircuitBreaker("cleaned")
    assert play.run(cb=cb, risky_operation=Service("risky")).result == "risky"
    assert cb.stats.successful_calls == 2

    def trip() -> str:
        fail(cb, DEFAULT_THRESHOLD)
        return "risky"

    assert play.run(cb=cb, risky_operation=trip, fallback_operation=lambda: "safe").result == "safe"


@block("Don't Ignore Half-Open State")
def test_do_not_ignore_half_open_state(play: Play) -> None:
    """Recovery is logged, a probe runs, and at the probe limit the call is left out."""
    log, agent = Notebook(), Service("answer")
    names = {"log_info": log, "agent": agent, "task": "t"}
    assert play.run(cb=CircuitBreaker("well"), **names).result == "answer"
    assert log.lines == []

    recovering = half_open_breaker("recovering")
    with recovering.protect():
        assert not hasattr(play.run(cb=recovering, **names), "result")
    assert recovering.stats.rejection_count == 1
    assert play.run(cb=recovering, **names).result == "answer"
    assert log.lines == ["Circuit in recovery mode"] * 2
    assert len(agent.calls) == 2


@block("Reset Circuits Periodically")
def test_reset_circuits_periodically(play: Play) -> None:
    """The daily reset forgets failures of closed circuits and leaves open ones open."""
    shaky = CircuitBreaker("shaky")
    fail(shaky, DEFAULT_THRESHOLD - 1)
    broken = open_breaker("broken")
    play.run().daily_reset()
    assert (shaky.stats.current_failures, shaky.stats.failed_calls) == (0, DEFAULT_THRESHOLD - 1)
    assert broken.is_open


@block("Problem: Circuit Opens Too Frequently")
def test_circuit_opens_too_frequently(play: Play) -> None:
    """The lenient preset is the remedy."""
    assert play.run().config == CircuitBreakerPresets.lenient()


@block("Problem: Circuit Never Opens")
def test_circuit_never_opens(play: Play) -> None:
    """A lower threshold is the remedy."""
    assert _set_fields(play.run().config) == {"failure_threshold": 2}


@block("Problem: Circuit Stays Open Too Long")
def test_circuit_stays_open_too_long(play: Play) -> None:
    """The preset for fast recovery is the remedy."""
    assert play.run().config == CircuitBreakerPresets.fast_recovery()


@block("Problem: High Rejection Count")
def test_high_rejection_count(play: Play, capsys: Capture) -> None:
    """State and rejections are printed as bare values; reset() closes the circuit."""
    cb = CircuitBreaker("rejecting")
    succeed(cb)
    play.run(cb=cb)
    assert capsys.readouterr().out == "closed\n0\n"

    fail(cb, DEFAULT_THRESHOLD + 1)
    play.run(cb=cb)
    assert capsys.readouterr().out == "open\n1\n"
    assert cb.is_closed


@block("Problem: Memory Usage Growing")
def test_memory_usage_growing(play: Play) -> None:
    """Statistics can be started anew, for the whole fleet."""
    cb = CircuitBreaker("counted")
    succeed(cb, times=3)
    names = play.run(cb=cb)
    assert _set_fields(names.config) == {"sliding_window_size": 50}
    names.reset_stats()
    assert total_calls("counted") == 0
    assert cb.stats.window_calls == 0


@block("CircuitBreaker Class / Constructor")
def test_constructor(play: Play) -> None:
    """The shown parameters come first, in that order; ours after them are by keyword only."""
    _compare(play.block, CircuitBreaker)
    breaker = CircuitBreaker("made", None, None)
    assert (breaker.service_id, breaker.config) == ("made", CircuitBreakerConfig())


@block("CircuitBreaker Class / Methods")
def test_call(play: Play) -> None:
    """call() hands on positional and keyword arguments, whatever they are called."""
    _compare(play.block, CircuitBreaker.call)
    result: object = CircuitBreaker("called").call(dict, [("a", 1)], func=2, self=3, args=4)
    assert result == {"a": 1, "func": 2, "self": 3, "args": 4}


@block("CircuitBreaker Class / Methods #2")
def test_protect(play: Play) -> None:
    """protect() takes nothing and gives a context manager."""
    _compare(play.block, CircuitBreaker.protect)
    assert isinstance(CircuitBreaker("protected").protect(), AbstractContextManager)


@block("CircuitBreaker Class / Methods #3")
def test_decorate(play: Play) -> None:
    """decorate() takes a function and gives one."""
    _compare(play.block, CircuitBreaker.decorate)
    assert CircuitBreaker("decorated").decorate(abs)(-3) == 3
    assert total_calls("decorated") == 1


@block("CircuitBreaker Class / Methods #4")
def test_reset(play: Play) -> None:
    """reset() takes nothing, returns nothing and closes the circuit."""
    _compare(play.block, CircuitBreaker.reset)
    breaker = open_breaker("reset")
    assert breaker.reset() is None  # type: ignore[func-returns-value]
    assert breaker.is_closed


@block("CircuitBreaker Class / Methods #5")
def test_get_stats(play: Play) -> None:
    """get_stats() takes nothing and gives a dict."""
    _compare(play.block, CircuitBreaker.get_stats)
    assert CircuitBreaker("measured").get_stats()["service_id"] == "measured"


@block("CircuitBreakerManager Class / Methods")
def test_get_breaker(play: Play) -> None:
    """get_breaker() takes rules or a kind of agent, and gives one breaker for a service."""
    _compare(play.block, CircuitBreakerManager.get_breaker)
    manager = CircuitBreakerManager()
    breaker = manager.get_breaker("agent.ada", None, "llm")
    assert breaker.config == CircuitBreakerPresets.for_agent("llm")
    assert manager.get_breaker("agent.ada") is breaker


@block("CircuitBreakerManager Class / Methods #2")
def test_get_all_stats(play: Play) -> None:
    """get_all_stats() gives the figures by service."""
    _compare(play.block, CircuitBreakerManager.get_all_stats)
    succeed(CircuitBreaker("a"))
    open_breaker("b")
    stats = CircuitBreakerManager().get_all_stats()
    assert {service: row["current_state"] for service, row in stats.items()} == {
        "a": "closed",
        "b": "open",
    }


@block("CircuitBreakerManager Class / Methods #3")
def test_get_open_circuits(play: Play) -> None:
    """get_open_circuits() gives a list of service ids: open ones, not half-open ones."""
    _compare(play.block, CircuitBreakerManager.get_open_circuits)
    half_open_breaker("recovering")
    open_breaker("broken")
    succeed(CircuitBreaker("healthy"))
    assert CircuitBreakerManager().get_open_circuits() == ["broken"]


@block("CircuitBreakerManager Class / Methods #4")
def test_reset_all(play: Play) -> None:
    """reset_all() closes every circuit."""
    _compare(play.block, CircuitBreakerManager.reset_all)
    broken, recovering = open_breaker("broken"), half_open_breaker("recovering")
    CircuitBreakerManager().reset_all()
    assert broken.is_closed
    assert recovering.is_closed


@block("CircuitBreakerConfig")
def test_config_class(play: Play) -> None:
    """The fields, their order and their defaults are ours; what we add comes after them."""
    shown = play.run(dataclass=dataclasses.dataclass).CircuitBreakerConfig
    expected = [(field.name, field.default) for field in dataclasses.fields(shown)]
    ours = [(field.name, field.default) for field in dataclasses.fields(CircuitBreakerConfig)]
    assert ours[: len(expected)] == expected


@block("CircuitState Enum")
def test_state_class(play: Play) -> None:
    """Names, values, order and base classes of the states are ours."""
    shown = play.run(Enum=Enum).CircuitState
    assert [(state.name, state.value) for state in CircuitState] == [
        (state.name, state.value) for state in shown
    ]
    assert CircuitState.__bases__ == shown.__bases__


def _set_fields(config: CircuitBreakerConfig) -> dict[str, Any]:
    """Return the fields that differ from the defaults."""
    defaults = CircuitBreakerConfig().to_dict()
    return {name: value for name, value in config.to_dict().items() if value != defaults[name]}


def _event_names(block: Block) -> list[str]:
    lines = [line.split() for line in block.text.splitlines() if line.startswith("# Event: ")]
    return [words[2] for words in lines]


def _compare(shown: Block, ours: Callable[..., Any]) -> None:
    """Compare a mere signature with a function or class of ours."""
    assert shown.called == ours.__name__
    wanted = shown.signature
    parameters = [p for p in inspect.signature(ours).parameters.values() if p.name != "self"]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    defaults = [ast.literal_eval(value) for value in wanted.defaults]
    assert [p.name for p in named] == [argument.arg for argument in wanted.args]
    assert [p.default for p in named if p.default is not p.empty] == defaults
    variable = [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert len(variable) == (wanted.vararg is not None) + (wanted.kwarg is not None)
    ours_alone = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert all(p.default is not p.empty for p in ours_alone)
