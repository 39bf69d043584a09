"""The scripts and the machine of one process are two tellings of the same rules."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import fakeredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    Extend,
    Outcome,
    Promote,
    Record,
    Reset,
    Run,
    Settle,
    Snapshot,
)
from bb5_breaker._core.machine import Machine
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Verdict
from bb5_breaker._store.clients import client_from_url, client_like
from bb5_breaker._store.redis_store import RedisStore

START_MS = 1_795_000_000_000

configs = st.builds(
    CircuitBreakerConfig,
    failure_threshold=st.integers(1, 4),
    timeout_seconds=st.sampled_from([0.0, 0.5, 2.0]),
    success_threshold=st.integers(1, 3),
    half_open_max_calls=st.integers(1, 3),
    reset_timeout=st.sampled_from([0.0, 1.0, 5.0]),
    sliding_window_size=st.integers(1, 6),
    probe_lease=st.sampled_from([0.3, 1.0]),
)
runs = st.lists(
    st.builds(Run, st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE]), st.integers(1, 5)),
    min_size=1,
    max_size=4,
).map(tuple)


@dataclass
class Step:
    """One thing that happens, in terms of what happened before."""

    kind: str
    wait_ms: int
    back: int
    outcome: Outcome
    runs: tuple[Run, ...]


steps = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(
            ["admit"] * 6
            + ["record"] * 4
            + ["settle"] * 4
            + ["extend", "promote", "reset", "clear"]
        ),
        wait_ms=st.sampled_from([0, 0, 0, 1, 200, 299, 300, 500, 1000, 2000, 6000]),
        back=st.integers(0, 3),
        outcome=st.sampled_from(list(Outcome)),
        runs=runs,
    ),
    max_size=40,
)


@dataclass
class History:
    """Drives a circuit and remembers what its callers hold."""

    circuit: Circuit
    views: list[CircuitView] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def command(self, step: Step) -> Command:
        """Turn a step into a command; callers hold what they were told up to three replies ago."""
        known = self.views[-1 - step.back] if step.back < len(self.views) else None
        generation = known.generation if known else 0
        circuit = self.circuit
        token = self.tokens[-1 - step.back] if step.back < len(self.tokens) else "nobody"
        match step.kind:
            case "admit":
                self.tokens.append(f"token{len(self.tokens)}")
                return Admit(circuit, self.tokens[-1])
            case "record":
                return Record(circuit, generation, "", step.runs, "Boom")
            case "settle":
                return Settle(circuit, generation, "", token, step.outcome, "Bang")
            case "extend":
                return Extend(circuit, "", token)
            case "promote":
                return Promote(circuit)
            case "reset":
                return Reset(circuit)
            case _:
                return Clear(circuit)


def compare(store: RedisStore, clock: list[int], config: CircuitBreakerConfig, story: list[Step]):
    """Run a history through the scripts and the machine; every reply must be the same."""
    circuit = Circuit.of(secrets.token_hex(4), config)
    history = History(circuit)
    machine = Machine("epoch", "owner")
    # A circuit that is not stored yet has nothing to reset or clear.
    first = Record(circuit, 0, "", (Run(Outcome.SUCCESS, 1),), "")
    machine.apply(first, clock[0])
    store.run(first)
    for step in story:
        clock[0] += step.wait_ms
        command = history.command(step)
        expected, got = machine.apply(command, clock[0]), store.run(command)
        assert isinstance(got, CircuitView)
        assert essence(got) == essence(expected), (step, command)
        history.views.append(got)
        told, held = store.run(Snapshot(circuit)), machine.snapshot(clock[0])
        assert isinstance(told, CircuitSnapshot)
        assert figures(told) == figures(held), (step, command)
        assert told.active_probes <= circuit.policy.half_open_max_calls


def essence(view: CircuitView) -> tuple[object, ...]:
    """What must agree. The last failure is told only where it is of use: it costs a read."""
    known = view.moved_from is not None or view.verdict in (Verdict.REJECT, Verdict.PROBE)
    return (
        view.verdict,
        view.state,
        view.generation,
        view.failures if view.verdict is not Verdict.ALLOW else None,
        view.last_error if known else None,
        view.last_failure_ms if known else None,
        view.moved_from,
        view.until_ms if view.verdict in (Verdict.REJECT, Verdict.PROBE) else None,
    )


def figures(snapshot: CircuitSnapshot) -> tuple[object, ...]:
    """All figures that users see."""
    return (
        snapshot.state,
        snapshot.effective_state,
        snapshot.generation,
        snapshot.failures,
        snapshot.total_successes,
        snapshot.total_failures,
        snapshot.rejections,
        snapshot.transitions,
        snapshot.window_calls,
        snapshot.window_failures,
        snapshot.active_probes,
        snapshot.last_failure_ms,
        snapshot.last_success_ms,
        snapshot.last_error,
        snapshot.opened_ms,
        snapshot.half_open_ms,
        snapshot.changed_ms,
        snapshot.reason,
    )


@settings(max_examples=300, deadline=None)
@given(config=configs, story=steps)
def test_scripts_in_fakeredis_and_machine_agree(
    config: CircuitBreakerConfig, story: list[Step]
) -> None:
    """Every history gives the same replies and figures in Lua (on fakeredis) and in Python."""
    clock = [START_MS]
    client = client_like(fakeredis.FakeRedis(), 5.0)
    rules = StoreRules(event_format="json")
    compare(RedisStore(client, rules, "fakeredis", clock=lambda: clock[0]), clock, config, story)


@pytest.mark.server
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(config=configs, story=steps)
def test_scripts_on_servers_and_machine_agree(
    redis_url: str, prefix: str, config: CircuitBreakerConfig, story: list[Step]
) -> None:
    """Every history gives the same replies and figures on a real server and in Python."""
    clock = [START_MS]
    client = client_from_url(redis_url, 5.0)
    store = RedisStore(client, StoreRules(prefix=prefix), redis_url, clock=lambda: clock[0])
    try:
        compare(store, clock, config, story)
    finally:
        store.close()
