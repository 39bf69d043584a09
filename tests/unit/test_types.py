"""The values that users hold: rules, presets, states, figures, results, errors, service ids."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bb5_breaker import exceptions
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.exceptions import (
    BlackBoxError,
    CircuitBreakerOpenError,
    EventBusError,
    RedisConnectionError,
    RedisPubSubError,
    StoreError,
)
from bb5_breaker.presets import CircuitBreakerPresets
from bb5_breaker.result import CallResult
from bb5_breaker.service_id import MAX_LENGTH, check_prefix, check_service_id
from bb5_breaker.state import CircuitState
from bb5_breaker.stats import CircuitBreakerStats

WEEK = 7 * 86_400
COUNTS = ["failure_threshold", "success_threshold", "half_open_max_calls", "sliding_window_size"]
MOST = dict.fromkeys(COUNTS[:3], 1_000_000) | {"sliding_window_size": 100_000}
SECONDS = {
    "timeout_seconds": (0.0, WEEK),
    "call_timeout": (0.0, WEEK),
    "reset_timeout": (0.0, WEEK),
    "probe_lease": (0.1, 3600.0),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "old pickle": lambda it: pickle.loads(pickle.dumps(it, protocol=2)),
}
NOON = datetime(2025, 1, 18, 12, 0, tzinfo=UTC)

copied = pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)


def make_config(**fields: Any) -> CircuitBreakerConfig:
    """Make a configuration from values of any type."""
    return CircuitBreakerConfig(**fields)


class TestConfig:
    """Rules of a circuit."""

    @pytest.mark.parametrize("field", COUNTS)
    def test_a_count_is_bounded(self, field: str) -> None:
        """The least and the greatest count are taken; one beyond is refused by field and bound."""
        most = MOST[field]
        for good in (1, most):
            assert getattr(make_config(**{field: good}), field) == good
        for bad in (0, -1, most + 1):
            with pytest.raises(ValueError, match=rf"{field} must be from 1 to {most}, got {bad}"):
                make_config(**{field: bad})
        with pytest.raises(ValueError, match=f"{field} must be from 1 to {most}, got a huge"):
            make_config(**{field: 10**5000})

    @pytest.mark.parametrize("field", COUNTS)
    @pytest.mark.parametrize("bad", [True, 2.0, "3", None, [4]])
    def test_a_count_is_an_int(self, field: str, bad: Any) -> None:
        """Anything but an int is refused, a bool too, with the field and the type in the error."""
        with pytest.raises(ValueError, match=f"{field} must be an int .*{type(bad).__name__}"):
            make_config(**{field: bad})

    @pytest.mark.parametrize("field", SECONDS)
    def test_a_time_is_bounded(self, field: str) -> None:
        """The shortest and the longest time are taken; beyond, NaN and infinity are refused."""
        least, most = SECONDS[field]
        for good in (least, most, int(most)):
            kept = getattr(make_config(**{field: good}), field)
            assert (type(kept), kept) == (float, good)
        below = math.nextafter(least, -math.inf)
        above = math.nextafter(most, math.inf)
        for bad in (below, above, -1, 10**400, math.nan, math.inf, -math.inf):
            with pytest.raises(ValueError, match=rf"{field} must be from {least:g} to {most:g} s"):
                make_config(**{field: bad})

    @pytest.mark.parametrize("field", SECONDS)
    @pytest.mark.parametrize("bad", [True, "30", timedelta(seconds=1), 1j])
    def test_a_time_is_a_number_of_seconds(self, field: str, bad: Any) -> None:
        """Anything but an int or float is refused, a bool too."""
        with pytest.raises(ValueError, match=f"{field} must be a number of seconds .*"):
            make_config(**{field: bad})

    def test_only_call_timeout_may_be_none(self) -> None:
        """None turns the deadline of calls off and is no value for any other time."""
        assert make_config(call_timeout=None).call_timeout is None
        assert make_config(call_timeout=0).call_timeout == 0.0
        for field in SECONDS.keys() - {"call_timeout"}:
            with pytest.raises(ValueError, match=f"{field} must be"):
                make_config(**{field: None})

    @given(
        counts=st.fixed_dictionaries({field: st.integers(-3, 2 * MOST[field]) for field in COUNTS}),
        times=st.fixed_dictionaries({field: st.floats(allow_nan=True) for field in SECONDS}),
    )
    def test_every_configuration_is_in_bounds_or_refused(
        self, counts: dict[str, int], times: dict[str, float]
    ) -> None:
        """There is no way to a configuration with a field out of bounds; good ones come back."""
        bad = [field for field, value in counts.items() if not 1 <= value <= MOST[field]]
        bad += [field for field, value in times.items() if not _in(SECONDS[field], value)]
        if not bad:
            assert make_config(**counts, **times).to_dict() == counts | times
            return
        with pytest.raises(ValueError, match=" must be from ") as caught:
            make_config(**counts, **times)
        assert str(caught.value).split()[0] in bad

    @given(
        st.fixed_dictionaries(
            {field: st.integers(1, MOST[field]) for field in COUNTS}
            | {field: st.floats(*bounds) for field, bounds in SECONDS.items()}
        )
    )
    def test_a_configuration_comes_back_from_its_dict(self, fields: dict[str, Any]) -> None:
        """to_dict() has the given numbers, passes through JSON, and makes an equal one again."""
        config = make_config(**fields)
        assert config.to_dict() == fields
        again = make_config(**json.loads(json.dumps(config.to_dict())))
        assert again == config
        assert hash(again) == hash(config)

    def test_to_dict_names_the_numeric_fields(self) -> None:
        """The fields stand in the order of the constructor; the exception types are left out."""
        fields = [field.name for field in dataclasses.fields(CircuitBreakerConfig)]
        assert list(CircuitBreakerConfig().to_dict()) == [
            name for name in fields if name != "exception_types"
        ]

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ((OSError, ValueError), (OSError, ValueError)),
            ([OSError], (OSError,)),
            ({OSError}, (OSError,)),
            (OSError, (OSError,)),
        ],
    )
    def test_exception_types_are_kept_as_a_tuple(self, given: Any, kept: Any) -> None:
        """A class alone and any plain collection of classes do as well."""
        assert make_config(exception_types=given).exception_types == kept

    @pytest.mark.parametrize(
        "bad",
        [
            (),
            [],
            None,
            "ValueError",
            (ValueError("an instance"),),
            (BaseException,),
            (ValueError, KeyboardInterrupt),
            (int,),
            ((OSError,),),
        ],
    )
    def test_exception_types_are_classes_of_exceptions(self, bad: Any) -> None:
        """None at all, instances, nested tuples and BaseException's own are refused by name."""
        with pytest.raises(ValueError, match="exception_types must"):
            make_config(exception_types=bad)

    def test_it_can_not_be_changed(self) -> None:
        """A configuration is frozen; replace() makes another, by the same checks."""
        config = CircuitBreakerConfig()
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.failure_threshold = 1  # type: ignore[misc]
        assert dataclasses.replace(config, failure_threshold=1).failure_threshold == 1
        with pytest.raises(ValueError, match="failure_threshold"):
            dataclasses.replace(config, failure_threshold=0)

    @copied
    def test_it_can_be_copied_and_sent(self, make_copy: Callable[[Any], Any]) -> None:
        """Copies and pickles are equal to it."""
        config = CircuitBreakerConfig(failure_threshold=7, exception_types=(OSError,))
        assert make_copy(config) == config


class TestPresets:
    """Ready-made configurations."""

    @pytest.mark.parametrize(
        ("preset", "fields"),
        [
            (CircuitBreakerPresets.default(), (5, 60.0, 2, 30.0)),
            (CircuitBreakerPresets.strict(), (3, 120.0, 3, 10.0)),
            (CircuitBreakerPresets.lenient(), (10, 30.0, 1, 60.0)),
            (CircuitBreakerPresets.fast_recovery(), (5, 10.0, 1, 30.0)),
            (CircuitBreakerPresets.for_agent(), (5, 60.0, 2, 30.0)),
        ],
        ids=["default", "strict", "lenient", "fast_recovery", "for_agent"],
    )
    def test_a_preset_sets_four_fields(
        self, preset: CircuitBreakerConfig, fields: tuple[int, float, int, float]
    ) -> None:
        """The other fields keep their defaults."""
        assert preset == _four(*fields)

    @pytest.mark.parametrize(
        ("kinds", "fields"),
        [
            (("llm", "ai", "researcher", "writer"), (3, 90.0, 2, 120.0)),
            (("file", "database", "api"), (5, 30.0, 2, 15.0)),
            (("LLM", "planner", "", None, 7), (5, 60.0, 2, 30.0)),
        ],
    )
    def test_an_agent_has_the_rules_of_its_kind(
        self, kinds: tuple[Any, ...], fields: tuple[int, float, int, float]
    ) -> None:
        """Kinds that are not known have the defaults, without an error."""
        for kind in kinds:
            assert CircuitBreakerPresets.for_agent(kind) == _four(*fields), kind


class TestState:
    """The three states."""

    def test_text_is_the_bare_value(self) -> None:
        """str(), format(), f-strings with and without a width, and JSON give the value."""
        state = CircuitState.HALF_OPEN
        assert str(state) == f"{state}" == format(state) == "half_open"
        assert f"{state:>12}|" == "   half_open|"
        assert json.dumps({"state": state}) == '{"state": "half_open"}'

    def test_a_state_is_a_text(self) -> None:
        """A state compares with its text, and is found by it."""
        assert issubclass(CircuitState, str)
        for state, value in zip(CircuitState, ["closed", "open", "half_open"], strict=True):
            assert state == value
            assert CircuitState(value) is state
            assert {value: 1}[state] == 1

    @copied
    def test_copies_are_the_state_itself(self, make_copy: Callable[[Any], Any]) -> None:
        """`is` works with a state that came from another process."""
        for state in CircuitState:
            assert make_copy(state) is state


class TestStats:
    """Figures of a circuit."""

    def test_nothing_counted_yet(self) -> None:
        """Without a call no rate is bad and no time is known."""
        stats = CircuitBreakerStats()
        assert (stats.success_rate, stats.failure_rate) == (1.0, 0.0)
        assert stats.time_since_last_failure is None
        assert stats.time_since_opened is None
        assert stats.current_state is CircuitState.CLOSED

    @given(
        st.integers(1, 100_000).flatmap(
            lambda calls: st.tuples(st.just(calls), st.integers(0, calls))
        )
    )
    def test_rates_are_shares_of_the_window(self, window: tuple[int, int]) -> None:
        """Both rates lie in 0 to 1 and add up to 1, whatever the lifetime totals are."""
        calls, failures = window
        stats = CircuitBreakerStats(
            total_calls=10 * calls,
            failed_calls=9 * calls,
            window_calls=calls,
            window_failures=failures,
        )
        assert stats.failure_rate == failures / calls
        assert 0.0 <= stats.success_rate <= 1.0
        assert stats.success_rate + stats.failure_rate == pytest.approx(1.0)

    def test_ages_are_taken_at_the_time_of_the_figures(self) -> None:
        """The age of a failure and of an opening is that on the server's clock, never below 0."""
        stats = CircuitBreakerStats(
            last_failure_time=NOON - timedelta(seconds=2.5),
            opened_at=NOON + timedelta(seconds=1),
            as_of=NOON,
        )
        assert stats.time_since_last_failure == 2.5
        assert stats.time_since_opened == 0.0

    def test_ages_without_a_reading_are_taken_now(self) -> None:
        """Figures that were never read from a store use the clock of this machine."""
        stats = CircuitBreakerStats(opened_at=datetime.now(UTC) - timedelta(hours=1))
        age = stats.time_since_opened
        assert age is not None
        assert 3600 <= age < 3700

    def test_to_dict_holds_plain_values(self) -> None:
        """Times are ISO text with an offset, the state its value; all of it passes through JSON."""
        stats = CircuitBreakerStats(
            current_state=CircuitState.OPEN, last_success_time=NOON, opened_at=NOON, as_of=NOON
        )
        figures = stats.to_dict()
        assert json.loads(json.dumps(figures)) == figures
        assert figures["current_state"] == "open"
        assert type(figures["current_state"]) is str
        assert figures["last_success_time"] == "2025-01-18T12:00:00+00:00"
        assert figures["last_failure_time"] is None
        assert figures["time_since_opened"] == 0.0

    def test_reset_is_the_breakers(self) -> None:
        """reset() does what the breaker put there; figures of no breaker refuse it."""
        calls: list[str] = []
        CircuitBreakerStats(on_reset=lambda: calls.append("reset")).reset()
        assert calls == ["reset"]
        with pytest.raises(RuntimeError, match=r"CircuitBreaker\.stats"):
            CircuitBreakerStats().reset()

    def test_figures_can_not_be_changed(self) -> None:
        """What was read stays as it was read; equal figures are equal."""
        stats = CircuitBreakerStats(total_calls=3)
        with pytest.raises(dataclasses.FrozenInstanceError):
            stats.total_calls = 4  # type: ignore[misc]
        assert stats == CircuitBreakerStats(total_calls=3, on_reset=lambda: None)


class TestResult:
    """The outcome of a call as a value."""

    @pytest.mark.parametrize(
        ("result", "failed"),
        [
            (CallResult(True, value="done"), False),
            (CallResult(False, exception=OSError("no")), True),
            (CallResult(False, exception=CircuitBreakerOpenError("s"), was_rejected=True), False),
        ],
        ids=["success", "failure", "rejection"],
    )
    def test_a_rejection_is_no_failure(self, result: CallResult, failed: bool) -> None:
        """`failed` tells that the call ran and raised."""
        assert result.failed is failed
        assert result.to_dict()["failed"] is failed

    def test_to_dict_holds_plain_values(self) -> None:
        """The error is its text, the state its value, and the call's own value is left out."""
        error = OSError("disk full")
        result = CallResult(False, error, 0.25, False, CircuitState.HALF_OPEN, value=object())
        assert result.to_dict() == {
            "success": False,
            "failed": True,
            "was_rejected": False,
            "duration_seconds": 0.25,
            "state_at_call": "half_open",
            "exception": "disk full",
        }
        assert CallResult(True).to_dict()["exception"] is None

    @copied
    def test_it_can_be_copied_and_sent(self, make_copy: Callable[[Any], Any]) -> None:
        """A result keeps its fields on the way to another process."""
        result = CallResult(True, duration_seconds=1.5, value={"pages": 3})
        assert make_copy(result) == result


ERRORS: list[type[BlackBoxError]] = [getattr(exceptions, name) for name in exceptions.__all__]
SAMPLES: list[BlackBoxError] = [
    *(
        kind("what is wrong", "OWN_CODE", {"where": "here"})
        for kind in ERRORS
        if kind is not CircuitBreakerOpenError
    ),
    CircuitBreakerOpenError("agent.researcher"),
    CircuitBreakerOpenError("db", CircuitState.HALF_OPEN, 1.5, NOON, 4, "TimeoutError"),
]


class AgentError(BlackBoxError):
    """An error of a user, whose constructor takes something else."""

    def __init__(self, agent: str, *, attempts: int) -> None:
        super().__init__(f"agent {agent} gave up", details={"attempts": attempts})
        self.agent = agent


class TestErrors:
    """Errors and what they carry."""

    @copied
    @pytest.mark.parametrize("error", [*SAMPLES, AgentError("writer", attempts=3)], ids=repr)
    def test_every_error_can_be_copied_and_sent(
        self, error: BlackBoxError, make_copy: Callable[[Any], Any]
    ) -> None:
        """A copy is of the same class and has the same text, code, details and attributes."""
        again = make_copy(error)
        assert type(again) is type(error)
        assert again is not error
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
        assert again.to_dict() == error.to_dict()

    def test_notes_travel_too(self) -> None:
        """What was noted on an error on its way is there after a pickle."""
        error = StoreError("no answer")
        error.add_note("while reading circuit 'db'")
        assert pickle.loads(pickle.dumps(error)).__notes__ == ["while reading circuit 'db'"]

    def test_one_base(self) -> None:
        """All errors are BlackBoxErrors; those of the bus and of the store have bases of theirs."""
        assert all(issubclass(kind, BlackBoxError) for kind in ERRORS)
        assert RedisConnectionError.__mro__[1:3] == (EventBusError, BlackBoxError)
        assert RedisPubSubError.__mro__[1:3] == (EventBusError, BlackBoxError)
        assert not issubclass(StoreError, EventBusError)

    def test_codes_tell_errors_apart(self) -> None:
        """Every class has a code of its own, used when none is given."""
        assert len({kind.default_code for kind in ERRORS}) == len(ERRORS)
        assert EventBusError("m").error_code == EventBusError.default_code
        assert EventBusError("m", "MINE").error_code == "MINE"
        assert EventBusError("m", "").error_code == ""

    def test_to_dict(self) -> None:
        """The dict has class, code, text and details, and what is done to it stays outside."""
        details = {"host": "db1"}
        error = BlackBoxError("it broke", "BROKEN", details)
        shown = error.to_dict()
        assert shown == {
            "error": "BlackBoxError",
            "error_code": "BROKEN",
            "message": "it broke",
            "details": {"host": "db1"},
        }
        shown["details"]["host"] = details["host"] = "db2"
        assert error.details == {"host": "db1"}
        assert BlackBoxError("m").details == {}

    def test_a_rejection_tells_what_to_expect(self) -> None:
        """The rejection has the facts as attributes, in details and in its text."""
        error = CircuitBreakerOpenError("db", CircuitState.OPEN, 12.34, NOON, 5, "OSError")
        assert error.details == {"service": "db", "remaining_seconds": 12.34, "failure_count": 5}
        assert (error.service, error.state, error.remaining_time) == ("db", "open", 12.34)
        assert (error.retry_at, error.failure_count, error.last_error) == (NOON, 5, "OSError")
        assert error.error_code == "CIRCUIT_OPEN"
        for fact in ("'db'", "open", "5 consecutive", "OSError", "12.3 s"):
            assert fact in str(error)

    def test_a_rejection_at_the_probe_limit_says_so(self) -> None:
        """Half-open reads otherwise than open; an unknown last error is not made up."""
        text = str(CircuitBreakerOpenError("db", CircuitState.HALF_OPEN, 3.0, failure_count=2))
        assert "half-open" in text
        assert "None" not in text


class TestServiceId:
    """Which names services may have."""

    @pytest.mark.parametrize(
        "good", ["a", "agent.researcher", "Ünïcødé-服务", "a/b@c:d#1$%&+=,;!~^|<>'\"`()", "x" * 200]
    )
    def test_good_ids_are_taken_as_they_are(self, good: str) -> None:
        """Letters of any script, digits and most signs are good."""
        assert check_service_id(good) == good

    @pytest.mark.parametrize("bad", [None, 7, b"agent", ["agent"]])
    def test_an_id_is_a_text(self, bad: Any) -> None:
        """Another type is refused by its name."""
        with pytest.raises(ValueError, match=f"service_id must be a str, got {type(bad).__name__}"):
            check_service_id(bad)

    @pytest.mark.parametrize("bad", ["", "x" * 201])
    def test_an_id_has_a_length(self, bad: str) -> None:
        """The empty id and one of more than 200 characters are refused."""
        with pytest.raises(ValueError, match=f"1 to {MAX_LENGTH} characters, got {len(bad)}"):
            check_service_id(bad)

    @pytest.mark.parametrize(
        "sign", [*" \t\n\r\v\f{}*?[]\\\x00\x1f\x7f\x85\xa0\u2028\u3000\ufeff\ud800"]
    )
    def test_forbidden_signs_are_named(self, sign: str) -> None:
        """White space, control, brace and glob characters are refused wherever they stand."""
        for bad, position in ((f"ab{sign}cd", 2), (f"{sign}cd", 0), (f"ab{sign}", 2)):
            with pytest.raises(ValueError, match=f"at position {position}") as caught:
                check_service_id(bad)
            assert repr(sign) in str(caught.value)

    @given(st.text(min_size=1, max_size=12))
    def test_no_good_id_reads_as_two_words_or_as_a_pattern(self, name: str) -> None:
        """Whatever is accepted is one printable word without a place for a glob or a hash tag."""
        try:
            check_service_id(name)
        except ValueError:
            return
        assert name.split() == [name]
        assert not set(name) & set("{}*?[]\\")
        assert all(ord(sign) >= 32 for sign in name)
        name.encode()

    @given(st.text(st.sampled_from("abcXYZ019_.:-"), min_size=1, max_size=64))
    def test_good_prefixes_are_taken_as_they_are(self, prefix: str) -> None:
        """ASCII letters, digits and four signs are good, up to 64."""
        assert check_prefix(prefix) == prefix

    @pytest.mark.parametrize("bad", ["", "x" * 65, "a b", "ä", "a\n", "a{b}", "a*", None, 3])
    def test_bad_prefixes_are_refused(self, bad: Any) -> None:
        """Anything else is refused, a line end at the end too."""
        with pytest.raises(ValueError, match="prefix must be 1 to 64 ASCII"):
            check_prefix(bad)


def _in(bounds: tuple[float, float], value: float) -> bool:
    return bounds[0] <= value <= bounds[1]


def _four(
    threshold: int, timeout: float, successes: int, call_timeout: float
) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(
        failure_threshold=threshold,
        timeout_seconds=timeout,
        success_threshold=successes,
        call_timeout=call_timeout,
    )
