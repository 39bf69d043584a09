"""What a process remembers of circuits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bb5_breaker import CircuitBreakerConfig, CircuitState
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView, Verdict
from bb5_breaker._shell.remembered import Remembered

OPEN, HALF_OPEN, CLOSED = CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED


def told(
    state: CircuitState, generation: int, epoch: str = "life", seconds: float = 0.0
) -> CircuitView:
    """Make a store's words about a circuit."""
    until_ms = 1000 + round(seconds * 1000) if state is OPEN else 0
    return CircuitView(
        Verdict.SEEN, state, generation, epoch, 1000, until_ms, 3, "Boom", 0, None, False
    )


class TestRemembered:
    """On a clock that stands."""

    @pytest.fixture(autouse=True)
    def _make(self) -> None:
        self.now = 0.0
        self.remembered = Remembered(lambda: self.now, keep=100.0)

    def learn(self, view: CircuitView) -> None:
        """Take an answer of this moment."""
        self.remembered.learn("svc", view, self.now, self.now)
        self.now += 1.0

    @pytest.mark.parametrize(
        ("known", "answer", "exceeds"),
        [
            (told(OPEN, 5), told(CLOSED, 0, ""), True),
            (told(OPEN, 5), told(CLOSED, 4), True),
            (told(OPEN, 5), told(OPEN, 3), True),
            (told(OPEN, 5), told(CLOSED, 0, "other"), True),
            (told(OPEN, 5), told(OPEN, 1, "other"), False),
            (told(OPEN, 5), told(CLOSED, 5, "other"), False),
            (told(OPEN, 5), told(CLOSED, 6), False),
            (told(HALF_OPEN, 6), told(CLOSED, 0, ""), True),
            (told(CLOSED, 7), told(HALF_OPEN, 6), True),
            (told(CLOSED, 7), told(CLOSED, 0, ""), False),
            (told(CLOSED, 7), told(OPEN, 1, "other"), False),
        ],
    )
    def test_what_the_store_lost(
        self, known: CircuitView, answer: CircuitView, exceeds: bool
    ) -> None:
        """A lower generation of the same life; of another one when it would let calls through."""
        self.learn(known)
        assert self.remembered.exceeds("svc", answer, self.now) is exceeds

    def test_an_answer_that_was_under_way_is_no_loss(self) -> None:
        """What was learnt after the question was asked is simply later."""
        self.learn(told(OPEN, 5))
        assert not self.remembered.exceeds("svc", told(CLOSED, 4), asked_at=0.0)

    def test_an_answer_may_be_as_old_as_its_question(self) -> None:
        """Given before the circuit was forgotten and arrived after, it brings nothing back."""
        self.remembered.learn("svc", told(OPEN, 5, seconds=10.0), asked_at=2.0, now=5.0)
        known = self.remembered.get("svc")
        assert known is not None
        circuit = Circuit.of("svc", CircuitBreakerConfig())
        assert known.restoring(circuit, 6.0).known_ms == 4000

    def test_it_is_forgotten_when_the_store_would_have_forgotten_it(self) -> None:
        """An idle circuit expires; what is known of it holds no longer."""
        self.learn(told(OPEN, 5, seconds=10.0))
        self.now = 109.0
        assert self.remembered.exceeds("svc", told(CLOSED, 0, ""), self.now)
        self.now = 111.0
        assert not self.remembered.exceeds("svc", told(CLOSED, 0, ""), self.now)
        assert self.remembered.get("svc") is None

    def test_the_end_and_the_error_stay_when_a_later_answer_leaves_them_out(self) -> None:
        """A late report is answered without them."""
        self.learn(told(OPEN, 5, seconds=10.0))
        bare = CircuitView(Verdict.STALE, OPEN, 5, "life", 2000, 0, 0, "", 0, None, False)
        self.learn(bare)
        known = self.remembered.get("svc")
        assert known is not None
        assert (known.ends, known.told.last_error) == (10.0, "Boom")

    def test_failures_of_a_closed_circuit_are_known_until_a_report_tells_otherwise(self) -> None:
        """A stand-in goes on counting from there; an admission leaves them out."""
        reported = CircuitView(Verdict.RECORDED, CLOSED, 0, "life", 1000, 0, 2, "", 0, None, False)
        self.learn(reported)
        self.learn(replace(reported, verdict=Verdict.ALLOW, failures=0))
        assert self.remembered.get("svc").told.failures == 2  # type: ignore[union-attr]
        self.learn(replace(reported, failures=0))
        assert self.remembered.get("svc") is None

    def test_only_the_very_next_transition_is_believed_when_it_is_pushed(self) -> None:
        """A message may be forged or belong to another life; such a one only makes calls ask."""
        self.learn(told(CLOSED, 4))
        for pushed in (told(OPEN, 6), told(OPEN, 5, "other"), told(OPEN, 4)):
            self.remembered.hear("svc", pushed, self.now)
            assert self.remembered.get("svc").told.state is CLOSED  # type: ignore[union-attr]
        self.remembered.hear("svc", told(OPEN, 5), self.now)
        assert self.remembered.get("svc").told.state is OPEN  # type: ignore[union-attr]

    def test_what_is_only_heard_is_not_held_against_the_store(self) -> None:
        """What it said before is, unless the circuit was closed since, as far as is heard."""
        nothing = told(CLOSED, 0, "")
        self.remembered.hear("svc", told(OPEN, 1), self.now)
        assert not self.remembered.exceeds("svc", nothing, asked_at=1.0)
        assert not self.remembered.has_said("svc", told(OPEN, 1))
        self.learn(told(OPEN, 1))
        assert self.remembered.has_said("svc", told(OPEN, 1))
        self.remembered.hear("svc", told(OPEN, 2), self.now)
        assert not self.remembered.has_said("svc", told(OPEN, 2))
        assert self.remembered.exceeds("svc", nothing, self.now)
        assert self.remembered.get_said("svc").told.generation == 1  # type: ignore[union-attr]
        self.remembered.hear("svc", told(CLOSED, 3), self.now)
        assert not self.remembered.exceeds("svc", nothing, self.now)

    def test_no_period_is_given_back_that_the_rules_do_not_give(self) -> None:
        """Nor one that is over."""
        self.learn(told(OPEN, 5, seconds=1e6))
        circuit = Circuit.of("svc", CircuitBreakerConfig(timeout_seconds=30.0, reset_timeout=40.0))
        known = self.remembered.get("svc")
        assert known is not None
        assert known.restoring(circuit, self.now).remaining_ms == 40_000
        assert known.restoring(circuit, 2e6).remaining_ms == 0
        assert known.restoring(circuit, self.now).known_ms == 1000
