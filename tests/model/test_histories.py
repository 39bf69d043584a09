"""Random histories: the scripts on every server and the machine of one process obey the oracle."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count

import fakeredis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bb5_breaker import CircuitBreakerConfig
from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    CountRejections,
    Extend,
    Forget,
    Look,
    Outcome,
    Promote,
    Purpose,
    Record,
    Reset,
    Restore,
    Run,
    Settle,
)
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._core.replies import Verdict
from bb5_breaker._store.clients import client_from_url, client_like
from bb5_breaker.state import CircuitState
from tests.model.oracle import Answer, Oracle
from tests.model.tellings import InProcess, OnServer, Sent
from tests.support.servers import RunningServer

START_MS = 1_795_000_000_000
SENDERS = ("worker-1", "worker-2")

configs = st.builds(
    CircuitBreakerConfig,
    failure_threshold=st.integers(1, 5),
    timeout_seconds=st.sampled_from([0.0, 0.5, 2.0]),
    success_threshold=st.integers(1, 3),
    half_open_max_calls=st.integers(1, 3),
    reset_timeout=st.sampled_from([0.0, 1.0, 5.0]),
    sliding_window_size=st.integers(1, 6),
    probe_lease=st.sampled_from([0.3, 1.0]),
)
counts = st.sampled_from([1, 1, 1, 2, 3, 5])
runs = st.builds(Run, st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE]), counts)
# What a caller holds was told to it up to three replies ago.
backs = st.sampled_from([0, 0, 0, 1, 2, 3])
policies = st.sampled_from([0, 0, 0, 1])
senders = st.sampled_from(SENDERS)
ages = st.sampled_from([0, 0, 0, 1, 200, 300, 301, 1000, 9000])
errors = st.sampled_from(["Boom", "Bang"])


class Histories(RuleBasedStateMachine):
    """What may happen to a circuit whose callers are late, repeat themselves, die and disagree.

    The oracle and the machine of one process go along. What happened is sent in the end, so that
    it takes few round trips: to the first server, and to one of the others.
    """

    def __init__(self, servers: Sequence[OnServer]) -> None:
        super().__init__()
        self.first, self.others = servers[:1], servers[1:]
        self.machine = InProcess()
        self.oracle = Oracle(START_MS)
        self.history: list[Sent] = []
        # Generations and lives that callers know, and tokens that were given out.
        self.known = [(0, 0)]
        self.tokens = ["nobody"]
        self.numbers = count(1)

    @initialize(
        first=configs,
        second=configs,
        state=st.sampled_from([*CircuitState, None]),
        other=st.integers(0, 11),
    )
    def begin(
        self,
        first: CircuitBreakerConfig,
        second: CircuitBreakerConfig,
        state: CircuitState | None,
        other: int,
    ) -> None:
        """Workers of two releases use the circuit, with rules of their own; it has a past."""
        self.others = self.others[other % max(1, len(self.others)) :][:1]
        service = secrets.token_hex(4)
        self.circuits = [Circuit.of(service, config) for config in (first, second)]
        if state is CircuitState.CLOSED:
            self.report_failures(policy=0, back=0, error="Boom", times=1, sender=SENDERS[0])
        elif state is not None:
            self.report_failures(policy=0, back=0, error="Boom", times=5, sender=SENDERS[0])
        if state is CircuitState.HALF_OPEN:
            self.wait(ms=2000)
            self.admit(policy=0, purpose=Purpose.CALL, sender=SENDERS[0])

    @rule(ms=st.sampled_from([1, 100, 299, 300, 500, 1000, 2000, 6000, -1, -700]))
    def wait(self, ms: int) -> None:
        """Time passes; a clock may be set back as well."""
        self.oracle.now_ms += ms

    @rule(which=st.integers(0, 3), off_ms=st.sampled_from([0, 0, 1, -1]))
    def wait_for_an_edge(self, which: int, off_ms: int) -> None:
        """The time is just when something ends, or next to it."""
        edges = self.oracle.edges_ms()
        if edges:
            self.oracle.now_ms = edges[which % len(edges)] + off_ms

    @rule(policy=policies, purpose=st.sampled_from(Purpose), sender=senders)
    def admit(self, policy: int, purpose: Purpose, sender: str) -> None:
        """A call wants to run."""
        token = f"token{len(self.tokens)}"
        self.tokens.append(token)
        self._send(Admit(self.circuits[policy], token, purpose), sender)

    @rule(policy=policies, back=backs, error=errors, times=counts, sender=senders)
    def report_failures(self, policy: int, back: int, error: str, times: int, sender: str) -> None:
        """Calls failed."""
        self._record(policy, back, (Run(Outcome.FAILURE, times),), error, 0, sender)

    @rule(policy=policies, back=backs, times=counts, age_ms=ages, sender=senders)
    def report_successes(
        self, policy: int, back: int, times: int, age_ms: int, sender: str
    ) -> None:
        """Calls went well, some time ago."""
        self._record(policy, back, (Run(Outcome.SUCCESS, times),), "", age_ms, sender)

    @rule(
        policy=policies,
        back=backs,
        batch=st.lists(runs, min_size=1, max_size=4),
        error=errors,
        age_ms=ages,
        sender=senders,
    )
    def report(
        self, policy: int, back: int, batch: list[Run], error: str, age_ms: int, sender: str
    ) -> None:
        """Calls ended one way and the other; only successes wait before they are reported."""
        late = age_ms if batch[0].outcome is Outcome.SUCCESS else 0
        self._record(policy, back, tuple(batch), error, late, sender)

    @rule(policy=policies, back=backs, held=backs, outcome=st.sampled_from(Outcome), error=errors)
    def settle(self, policy: int, back: int, held: int, outcome: Outcome, error: str) -> None:
        """A probe's call ended."""
        generation, _ = self._known(back)
        token = self._token(held)
        self._send(Settle(self.circuits[policy], generation, "", token, outcome, error), SENDERS[0])

    @rule(policy=policies, outcome=st.sampled_from(Outcome), ms=st.sampled_from([0, 0, 299, 300]))
    def call(self, policy: int, outcome: Outcome, ms: int) -> None:
        """A call is admitted, runs, and tells how it ended."""
        self.admit(policy, Purpose.CALL, SENDERS[1])
        admitted = self.history[-1].answer
        self.wait(ms)
        if admitted.verdict is Verdict.PROBE:
            self.settle(policy, 0, 0, outcome, "Bong")
        elif admitted.verdict is Verdict.ALLOW and outcome is not Outcome.NEUTRAL:
            self._record(policy, 0, (Run(outcome, 1),), "Bong", 0, SENDERS[1])

    @rule(policy=policies, held=backs)
    def extend(self, policy: int, held: int) -> None:
        """A probe's call still runs."""
        self._send(Extend(self.circuits[policy], "", self._token(held)), SENDERS[0])

    @precondition(lambda self: self.oracle.figures().state is CircuitState.OPEN)
    @rule(policy=policies)
    def promote(self, policy: int) -> None:
        """A timer rings."""
        self._send(Promote(self.circuits[policy]), SENDERS[0])

    @precondition(lambda self: any(life for _, life in self.known))
    @rule(
        policy=policies,
        back=st.integers(0, 5),
        ahead=st.sampled_from([0, 1, 2, 7]),
        state=st.sampled_from(CircuitState),
        remaining_ms=st.sampled_from([0, 500]),
        known_ms=st.sampled_from([0, 1, 300, 9000]),
        failures=st.integers(0, 5),
    )
    def restore(
        self,
        policy: int,
        back: int,
        ahead: int,
        state: CircuitState,
        remaining_ms: int,
        known_ms: int,
        failures: int,
    ) -> None:
        """A process tells what it knows; sometimes the store is behind."""
        told = list(dict.fromkeys(known for known in self.known if known[1]))
        generation, life = told[max(0, len(told) - 1 - back)]
        command = Restore(
            self.circuits[policy],
            max(1, generation + ahead),
            "",
            state,
            remaining_ms,
            known_ms,
            failures,
            "Lost",
        )
        self._send(command, SENDERS[0], life)

    @rule(back=backs, times=counts, sender=senders)
    def report_rejections(self, back: int, times: int, sender: str) -> None:
        """Calls were rejected by a process's own view."""
        _, life = self._known(back)
        self._send(CountRejections(self.circuits[0], "", times), sender, life)

    @rule(
        kind=st.sampled_from([Look, Look, Promote, Reset, Clear, Forget]),
        policy=policies,
        sender=senders,
    )
    def order(self, kind: Callable[[Circuit], Command], policy: int, sender: str) -> None:
        """Somebody looks, or takes the circuit in hand."""
        self._send(kind(self.circuits[policy]), sender)

    @precondition(lambda self: self.history)
    @rule(back=st.integers(0, 2))
    def send_again(self, back: int) -> None:
        """A reply was lost, so the same command comes again under its number."""
        sent = self.history[-1 - min(back, len(self.history) - 1)]
        if isinstance(sent.command, Admit) and self.oracle.has_overdue():
            # Even in vain it takes back a place, which the machine would not hear of.
            return
        self._send_as(sent.command, sent.life, sent.sender, sent.number)

    def teardown(self) -> None:
        """Let the servers live through it all."""
        for server in (*self.first, *self.others):
            server.run(self.history, self.oracle.events, self.oracle.places)

    def _known(self, back: int) -> tuple[int, int]:
        return self.known[max(0, len(self.known) - 1 - back)]

    def _token(self, back: int) -> str:
        # First those that have a place, overdue or not; then what others were given.
        placed = list(self.oracle.places)
        tokens = [token for token in self.tokens if token not in placed] + placed
        return tokens[max(0, len(tokens) - 1 - back)]

    def _record(
        self, policy: int, back: int, batch: tuple[Run, ...], error: str, age_ms: int, sender: str
    ) -> None:
        generation, life = self._known(back)
        command = Record(self.circuits[policy], generation, "", batch, error, age_ms)
        self._send(command, sender, life)

    def _send(self, command: Command, sender: str, life: int = 0) -> None:
        self._send_as(command, life, sender, next(self.numbers))

    def _send_as(self, command: Command, life: int, sender: str, number: int) -> None:
        answer = ask(self.oracle, command, life, sender, number)
        figures = self.oracle.figures()
        sent = Sent(command, life, sender, number, self.oracle.now_ms, answer, figures)
        self.history.append(sent)
        self.known.append((answer.generation, answer.life))
        self.machine.run(sent)


def ask(oracle: Oracle, command: Command, life: int, sender: str, number: int) -> Answer:
    """Return the oracle's answer to a command."""
    policy = command.circuit.policy
    match command:
        case Admit(token=token, purpose=purpose):
            return oracle.admit(policy, token, purpose, sender, number)
        case Record(generation=generation, runs=batch, error=error, age_ms=age_ms):
            return oracle.record(policy, generation, life, batch, error, age_ms, sender, number)
        case Settle(generation=generation, token=token, outcome=outcome, error=error):
            return oracle.settle(policy, generation, token, outcome, error)
        case Extend(token=token):
            return oracle.extend(policy, token)
        case Restore():
            return oracle.restore(
                life,
                command.generation,
                command.state,
                command.remaining_ms,
                command.known_ms,
                command.failures,
                command.error,
            )
        case Promote():
            return oracle.promote()
        case Reset():
            return oracle.reset(sender, number)
        case Clear():
            return oracle.clear(sender, number)
        case CountRejections(count=times):
            return oracle.count_rejections(life, times, sender, number)
        case Look():
            return oracle.look()
        case Forget():
            return oracle.forget()
        case _:
            raise NotImplementedError(command)


def run_histories(servers: Sequence[OnServer], number: int) -> None:
    """Run so many histories."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Histories(servers),
        settings=settings(
            max_examples=number,
            stateful_step_count=30,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_the_machine_and_the_scripts_in_fakeredis_obey_the_oracle() -> None:
    """Every history gives the answers and figures that the rules demand, without a server."""
    client = client_like(fakeredis.FakeRedis(), 5.0)
    run_histories([OnServer(client, "fakeredis", StoreRules(event_format="json"))], 200)


# Several times what it takes on two cores that nobody else uses.
@pytest.mark.timeout(300)
def test_the_machine_and_the_scripts_on_every_server_obey_the_oracle(
    all_servers: list[RunningServer], prefix: str
) -> None:
    """Each of 2,000 histories gives what the rules demand, on two kinds of server."""
    with ExitStack() as closing:
        tellings = []
        for server in all_servers:
            client = client_from_url(server.url, 5.0)
            tellings.append(OnServer(client, server.kind.name, StoreRules(prefix=prefix)))
            closing.callback(tellings[-1].close)
        run_histories(tellings, 2_000)
