"""Health checks close idle circuits: by one process at a time, whatever becomes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerManager
from bb5_breaker.manager import protect
from tests.server.circuits import Service, ServiceError, eventually
from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import Keys, fail, make_breaker

_RULES: dict[str, Any] = {
    "failure_threshold": 1,
    "timeout_seconds": 0.1,
    "reset_timeout": 0.0,
    "success_threshold": 1,
    "call_timeout": None,
}


@pytest.fixture
def keys(any_server: RunningServer, prefix: str) -> Iterator[Keys]:
    """All that the server holds of `svc`; this process is configured for it."""
    make_breaker(any_server.url, prefix, service="unused")
    client = any_server.client()
    yield Keys(client, prefix)
    client.close()


def _checked(check: Any, service: str = "svc", **rules: Any) -> CircuitBreaker:
    """Return a breaker with a health check, whose circuit is open."""
    breaker = CircuitBreaker(
        service, CircuitBreakerConfig(**{**_RULES, **rules}), health_check=check
    )
    breaker.call_result(fail)
    return breaker


def _states(keys: Keys) -> list[str]:
    return [state for state, _ in keys.transitions()]


@pytest.mark.usefixtures("both_modes")
def test_a_health_check_closes_an_idle_circuit(server: RunningServer, prefix: str) -> None:
    """With no user's call; its calls count as any others, and nothing was rejected."""
    make_breaker(server.url, prefix, service="unused")
    service = Service()
    breaker = _checked(service)
    keys = Keys(server.client(), prefix)
    eventually(lambda: _states(keys) == ["open", "half_open", "closed"], "closed by the check")
    assert len(service.calls) == 1
    assert breaker.stats.rejection_count == 0
    assert breaker.stats.successful_calls == 1
    assert breaker.health_check is service


def test_as_many_successes_as_the_threshold_wants(keys: Keys) -> None:
    """The same process goes on at once."""
    service = Service()
    breaker = _checked(service, success_threshold=3)
    assert breaker.wait_until_closed(10.0)
    assert len(service.calls) == 3
    assert keys.field("reason") == "success_threshold"


def test_a_failing_check_reopens_and_the_next_deadline_brings_the_next(keys: Keys) -> None:
    """Until the service is well; each failure is told as a call's is."""
    service = Service(up=False)
    breaker = _checked(service)
    eventually(lambda: len(service.calls) >= 2, "checked again after the next open period")
    assert _states(keys)[:4] == ["open", "half_open", "open", "half_open"]
    assert keys.field("last_error") == ServiceError.__name__
    service.up = True
    assert breaker.wait_until_closed(10.0)
    assert breaker.stats.rejection_count == 0


def test_a_check_that_takes_too_long_fails(keys: Keys) -> None:
    """call_timeout applies."""
    over = threading.Event()
    breaker = _checked(lambda: over.wait(10.0), call_timeout=0.05)
    eventually(lambda: _states(keys)[:3] == ["open", "half_open", "open"], "reopened")
    assert keys.field("last_error") == "TimeoutError"
    over.set()
    assert breaker.wait_until_closed(10.0)


@pytest.mark.usefixtures("keys")
def test_a_hanging_check_delays_no_other_circuit() -> None:
    """It takes up one thread, and its circuit's place."""
    over, hanging = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        over.wait(20.0)

    stuck = _checked(hang, service="stuck")
    assert hanging.wait(10.0)
    others = [_checked(Service(), service=f"other-{number}") for number in range(5)]
    assert all(other.wait_until_closed(10.0) for other in others)
    assert stuck.is_half_open
    over.set()
    assert stuck.wait_until_closed(10.0)


def test_a_check_that_says_nothing_is_run_again(keys: Keys, caplog: Any) -> None:
    """An error that does not count leaves the circuit half-open; that is said once."""
    service = Service(up=False)
    breaker = _checked(service, exception_types=(OSError,))
    breaker.call_result(Service(up=False))
    with pytest.raises(OSError, match="down"):
        breaker.call(_be_down)
    eventually(lambda: len(service.calls) >= 2, "checked again")
    assert keys.field("state") == "half_open"
    service.up = True
    assert breaker.wait_until_closed(10.0)
    assert len([text for text in caplog.messages if "counts as nothing" in text]) == 1


def _be_down() -> None:
    raise OSError("down")


def test_a_check_whose_work_is_not_done_when_it_returns_fails(keys: Keys) -> None:
    """A lambda may hide a coroutine; nobody would await it."""

    async def ask() -> None: ...

    breaker = _checked(lambda: ask())
    eventually(lambda: _states(keys)[:3] == ["open", "half_open", "open"], "reopened")
    assert keys.field("last_error") == "TypeError"
    assert breaker.service_id == "svc"


@pytest.mark.parametrize("mode", ["cached", "strict"])
def test_one_process_of_many_checks_and_another_takes_over_when_it_is_killed(
    any_server: RunningServer, prefix: str, tmp_path: Path, mode: str
) -> None:
    """The first one dies in its check; its place is given away when its lease ends."""
    journal = tmp_path / "journal"
    journal.touch()
    lease = 1.0
    rules = {**_RULES, "probe_lease": lease, "timeout_seconds": 1.0}
    settings = {"consistency": mode}
    assignment = Assignment(any_server.url, prefix, config=rules, settings=settings)
    keys = Keys(any_server.client(), prefix)
    with Crew(4, assignment) as crew:
        crew.ask_all("check_health", journal=str(journal), seconds=60.0)
        assert crew.workers[0].ask("calls", outcomes="f") == "f"
        # Those that do not listen learn by a call that the circuit is open.
        eventually(lambda: crew.ask_all("calls", outcomes="s") == ["r"] * 4, "all have heard")
        eventually(lambda: journal.read_text(), "the first check")
        (holder,) = (one for one in crew.workers if one.pid == int(journal.read_text()))
        time.sleep(1.5 * lease)
        assert journal.read_text().split() == [str(holder.pid)], "two checked at a time"
        holder.kill()
        eventually(lambda: keys.field("state") == "closed", "another closes it", seconds=20.0)
    pids = journal.read_text().split()
    assert len(pids) == 2
    assert pids[0] != pids[1]
    # The calls of the four, and none of the checks that found the place taken.
    assert int(keys.field("rejections") or 0) <= 4


def test_all_ways_to_a_breaker_take_a_health_check(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """The manager keeps the first one, and says so."""
    service, other = Service(), Service()
    manager = CircuitBreakerManager()
    assert manager.get_breaker("svc").health_check is None
    assert manager.get_breaker("two", health_check=service).health_check is service
    assert manager.get_breaker("two").health_check is service
    assert not caplog.messages
    assert manager.get_breaker("two", health_check=other).health_check is service
    assert "'two' keeps the health check" in caplog.text
    guarded: Any = protect("svc", health_check=service)(fail)
    assert guarded.circuit_breaker.health_check is service
    assert keys.field("state") == ""
