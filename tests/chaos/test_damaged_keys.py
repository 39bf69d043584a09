"""Keys that somebody deletes or overwrites under circuits in use, and flushed servers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from bb5_breaker import CircuitBreaker, CircuitBreakerManager
from tests.chaos.logs import records_about
from tests.server.circuits import eventually
from tests.support.servers import RunningServer
from tests.support.workers_circuit import (
    Keys,
    ServiceFailed,
    end_link,
    fail,
    make_breaker,
)

_KEYS = ("circuit", "window", "probes", "cooldown", "events", "registry")
# Written over by the scripts, and never read.
_NOT_READ = {"cooldown"}
_RECOVERY = ["open", "half_open", "closed"]
_RULES: dict[str, Any] = {
    "failure_threshold": 2,
    "timeout_seconds": 0.04,
    "reset_timeout": 0.0,
    "success_threshold": 1,
    "probe_lease": 0.3,
}
_SETTINGS = {"flush_interval": 0.02, "store_retry_interval": 0.05}


def _outcome(breaker: CircuitBreaker, work: Callable[[], Any]) -> str:
    """Call; return s or f for the call's own end and r for a rejection; all else is raised."""
    result = breaker.call_result(work)
    if result.was_rejected:
        return "r"
    if result.success:
        return "s"
    assert isinstance(result.exception, ServiceFailed), result.exception
    return "f"


def _await_admission(breaker: CircuitBreaker) -> None:
    eventually(lambda: _outcome(breaker, int) == "s", "a call is let through")


def _live(breaker: CircuitBreaker) -> None:
    """Trip, be rejected, recover: what a circuit is for, wherever it is kept."""
    _await_admission(breaker)
    eventually(lambda: _outcome(breaker, int) == "s" and breaker.call(int) == 0, "it closes")
    assert [_outcome(breaker, fail) for _ in range(3)] == ["f", "f", "r"]
    time.sleep(_RULES["timeout_seconds"])
    _await_admission(breaker)


def _closed(breaker: CircuitBreaker) -> Iterator[None]:
    breaker.call(int)
    yield


def _opened(breaker: CircuitBreaker) -> Iterator[None]:
    assert [_outcome(breaker, fail) for _ in range(3)] == ["f", "f", "r"]
    yield


def _probing(breaker: CircuitBreaker) -> Iterator[None]:
    yield from _opened(breaker)
    time.sleep(_RULES["timeout_seconds"])
    with breaker.protect():
        yield


@pytest.fixture
def breaker(any_server: RunningServer, prefix: str) -> Iterator[CircuitBreaker]:
    """A breaker whose connections end with the test, also when a traceback holds on to it."""
    made = make_breaker(any_server.url, prefix, settings=_SETTINGS, **_RULES)
    yield made
    end_link(made)


@pytest.fixture(params=[_closed, _opened, _probing], ids=["closed", "open", "probing"])
def stages(request: pytest.FixtureRequest) -> Callable[[CircuitBreaker], Iterator[None]]:
    """What brings a circuit into a state, where harm is done, and lets it go on."""
    way: Callable[[CircuitBreaker], Iterator[None]] = request.param
    return way


def _last_steps(keys: Keys) -> list[str]:
    return [state for state, _ in keys.transitions()][-3:]


def _harm(stages: Iterator[None], harm: Callable[[], Any]) -> None:
    for _ in stages:
        harm()


@pytest.mark.parametrize("key", _KEYS)
def test_a_deleted_key_heals_by_itself(
    any_server: RunningServer,
    prefix: str,
    breaker: CircuitBreaker,
    caplog: pytest.LogCaptureFixture,
    stages: Callable[[CircuitBreaker], Iterator[None]],
    key: str,
) -> None:
    """No call fails of it; the circuit trips and recovers in the store as before."""
    client = any_server.client()
    keys = Keys(client, prefix)
    with caplog.at_level(logging.ERROR, logger="bb5_breaker"):
        _harm(stages(breaker), lambda: client.delete(getattr(keys, key)))
        _live(breaker)
    assert records_about(breaker, caplog) == []
    assert _last_steps(keys) == _RECOVERY
    assert keys.field("state") == "closed"
    breaker.flush()
    assert keys.without_expiry() == []


@pytest.mark.parametrize("key", _KEYS)
@pytest.mark.usefixtures("both_modes")
def test_an_overwritten_key_is_named_and_once_repaired_all_goes_on(
    any_server: RunningServer,
    prefix: str,
    breaker: CircuitBreaker,
    caplog: pytest.LogCaptureFixture,
    stages: Callable[[CircuitBreaker], Iterator[None]],
    key: str,
) -> None:
    """Calls are guarded all the same; one line names the key; without it the store counts."""
    client = any_server.client()
    keys = Keys(client, prefix)
    name = getattr(keys, key)
    with caplog.at_level(logging.WARNING, logger="bb5_breaker"):
        _harm(stages(breaker), lambda: client.set(name, "foreign"))
        _live(breaker)
    if key in _NOT_READ:
        assert records_about(breaker, caplog) == []
    elif key != "registry":
        # The calls tell, and so do the reports of what is lost meanwhile: once each.
        told = [record.getMessage() for record in records_about(breaker, caplog)]
        assert 1 <= len(told) <= 2, told
        assert all(name in line for line in told), told
    client.delete(name)
    eventually(lambda: _live(breaker) or _last_steps(keys) == _RECOVERY, "the store is used again")
    breaker.flush()
    assert keys.field("state") == "closed"


@pytest.mark.usefixtures("both_modes")
def test_a_flushed_server_is_filled_again(
    own_server: RunningServer,
    client: redis.Redis,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
    stages: Callable[[CircuitBreaker], Iterator[None]],
) -> None:
    """FLUSHALL and SCRIPT FLUSH together: no call fails, and the circuit is listed again."""
    breaker = make_breaker(own_server.url, prefix, settings=_SETTINGS, **_RULES)
    keys = Keys(client, prefix)

    def flush() -> None:
        client.flushall()
        client.script_flush()

    with caplog.at_level(logging.ERROR, logger="bb5_breaker"):
        _harm(stages(breaker), flush)
        _live(breaker)
        breaker.flush()
    assert records_about(breaker, caplog) == []
    assert _last_steps(keys) == _RECOVERY
    assert list(CircuitBreakerManager().get_all_stats()) == ["svc"]
    end_link(breaker)
