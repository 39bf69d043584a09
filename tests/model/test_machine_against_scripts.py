"""The scripts and the machine of one process are two tellings of the same rules."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace

import fakeredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    CountRejections,
    Extend,
    Look,
    Outcome,
    Promote,
    Purpose,
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
from bb5_breaker.state import CircuitState

START_MS = 1_795_000_000_000

configs = st.builds(
    CircuitBreakerConfig,
    failure_threshold=st.integers(1, 7),
    timeout_seconds=st.sampled_from([0.0, 0.5, 2.0]),
    success_threshold=st.integers(1, 3),
    half_open_max_calls=st.integers(1, 3),
    reset_timeout=st.sampled_from([0.0, 1.0, 5.0]),
    sliding_window_size=st.integers(1, 6),
    probe_lease=st.sampled_from([0.3, 1.0]),
)
runs = st.lists(
    st.builds(
        Run,
        st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE]),
        st.sampled_from([1, 1, 1, 2, 3, 5]),
    ),
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
    age_ms: int
    purpose: Purpose


steps = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(
            ["admit"] * 6
            + ["record"] * 8
            + ["settle"] * 4
            + ["reject"] * 2
            + ["extend", "promote", "reset", "clear", "look"]
        ),
        # A clock may be set back as well.
        wait_ms=st.sampled_from([0, 0, 0, 1, 200, 299, 300, 500, 1000, 2000, 6000, -1, -700]),
        back=st.integers(0, 3),
        outcome=st.sampled_from(list(Outcome)),
        runs=runs,
        age_ms=st.sampled_from([0, 1, 200, 300, 301, 1000, 9000]),
        purpose=st.sampled_from(list(Purpose)),
    ),
    # Without a least size nearly all would be too short to come to much.
    min_size=10,
    max_size=40,
)


@dataclass
class History:
    """Drives a circuit and remembers what its callers hold."""

    circuit: Circuit
    views: list[CircuitView] = field(default_factory=list)
    # What the machine calls the lives that the store gave names to.
    epochs: dict[str, str] = field(default_factory=lambda: {"": ""})
    tokens: list[str] = field(default_factory=list)

    def command(self, step: Step) -> Command:
        """Turn a step into a command; callers hold what they were told up to three replies ago."""
        known = self.views[-1 - step.back] if step.back < len(self.views) else None
        generation = known.generation if known else 0
        epoch = known.epoch if known else ""
        circuit = self.circuit
        token = self.tokens[-1 - step.back] if step.back < len(self.tokens) else "nobody"
        match step.kind:
            case "admit":
                self.tokens.append(f"token{len(self.tokens)}")
                return Admit(circuit, self.tokens[-1], step.purpose)
            case "record":
                age_ms = step.age_ms if step.runs[0].outcome is Outcome.SUCCESS else 0
                return Record(circuit, generation, epoch, step.runs, "Boom", age_ms)
            case "reject":
                return CountRejections(circuit, epoch, step.runs[0].count)
            case "look":
                return Look(circuit)
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

    def in_the_machine(self, command: Command) -> Command:
        """Return the command as a caller of the machine gives it."""
        if isinstance(command, Record | CountRejections):
            return replace(command, epoch=self.epochs[command.epoch])
        return command

    def note(self, got: CircuitView, expected: CircuitView) -> None:
        """Remember the replies of the scripts and of the machine."""
        self.views.append(got)
        assert self.epochs.setdefault(got.epoch, expected.epoch) == expected.epoch


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
        expected = machine.apply(history.in_the_machine(command), clock[0])
        got = store.run(command)
        assert isinstance(got, CircuitView)
        assert essence(got, command) == essence(expected, command), (step, command)
        history.note(got, expected)
        told, held = store.run(Snapshot(circuit)), machine.snapshot(clock[0])
        assert isinstance(told, CircuitSnapshot)
        assert figures(told) == figures(held), (step, command)
        assert told.active_probes <= circuit.policy.half_open_max_calls


def essence(view: CircuitView, command: Command) -> tuple[object, ...]:
    """What must agree. The last failure is told only where it is of use: it costs a read."""
    looked = isinstance(command, CountRejections) or (
        isinstance(command, Look) and view.state is not CircuitState.CLOSED
    )
    placed = view.verdict in (Verdict.REJECT, Verdict.PROBE)
    known = looked or placed or view.moved_from is not None
    counted = known or not isinstance(command, Admit | Look)
    return (
        view.verdict,
        view.state,
        view.generation,
        view.failures if counted else None,
        view.last_error if known else None,
        view.last_failure_ms if known else None,
        view.moved_from,
        view.until_ms if looked or placed else None,
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
