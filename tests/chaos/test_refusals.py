"""Servers that answer, and refuse: what calls see of it, and what the process does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bb5_breaker import CircuitBreaker
from tests.chaos.logs import records_about
from tests.chaos.refusals import FAULTS, Fault
from tests.server.circuits import eventually
from tests.support.kinds import ServerKind
from tests.support.servers import RunningServer, start
from tests.support.workers_circuit import (
    Keys,
    ServiceFailed,
    end_link,
    fail,
    make_breaker,
)

# Long enough for several attempts of a process to find its store well again.
_FAULT_SECONDS = 0.25
_PREFIX = "t-refused"
_RULES: dict[str, Any] = {"failure_threshold": 3, "timeout_seconds": 30.0}
_SETTINGS = {
    "store_timeout": 0.5,
    "store_retry_interval": 0.05,
    "flush_interval": 0.02,
    "heartbeat_interval": 0.2,
}
# Where the code is lost on the way, or another rule comes before.
_WORDED = [fault for fault in FAULTS if fault.code in {"READONLY", "OOM", "NOAUTH"}]


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.code)
def fault(request: pytest.FixtureRequest) -> Fault:
    """One of the ways to refuse."""
    chosen: Fault = request.param
    return chosen


@contextmanager
def _guarded(kind: ServerKind, fault: Fault) -> Iterator[tuple[RunningServer, CircuitBreaker]]:
    """Start a server that can refuse in that way; its breaker's connections end with it."""
    with start(kind, config=fault.config) as server:
        fault.prepare(server)
        breaker = make_breaker(server.url, _PREFIX, settings=_SETTINGS, **_RULES)
        breaker.call(int)
        try:
            yield server, breaker
        finally:
            end_link(breaker)


def _call(breaker: CircuitBreaker, work: Callable[[], Any]) -> str:
    """Call; s or f when the end is the call's own, r when rejected; all else is raised."""
    result = breaker.call_result(work)
    if result.was_rejected:
        return "r"
    if result.success:
        assert result.value == 42
        return "s"
    assert type(result.exception) is ServiceFailed
    assert result.exception.__cause__ is result.exception.__context__ is None
    return "f"


def _succeed() -> int:
    return 42


def test_calls_go_on_and_one_line_tells_why(
    any_server: RunningServer,
    fault: Fault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Results and errors stay the call's own, however long it lasts; then the store counts."""
    with _guarded(any_server.kind, fault) as (server, breaker):
        _live_through(fault, server, breaker, caplog)


@pytest.mark.parametrize("fault", _WORDED, indirect=True, ids=lambda fault: fault.code)
def test_each_server_is_understood(
    server: RunningServer,
    fault: Fault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same, where servers say it in words of their own."""
    with _guarded(server.kind, fault) as (refusing, breaker):
        _live_through(fault, refusing, breaker, caplog)


def _live_through(
    fault: Fault,
    server: RunningServer,
    breaker: CircuitBreaker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = Keys(server.client(), _PREFIX)
    with caplog.at_level(logging.INFO, logger="bb5_breaker"):
        with fault.begin(server):
            ends = time.monotonic() + _FAULT_SECONDS
            while time.monotonic() < ends:
                assert [_call(breaker, work) for work in (_succeed, fail)] == ["s", "f"]
                time.sleep(0.01)
        eventually(
            lambda: _call(breaker, _succeed) == "s" and breaker._link().failing is None,
            "the store is used again",
        )
    told = records_about(breaker, caplog)
    levels = [record.levelname for record in told]
    assert levels.count("ERROR") == 1, told
    assert levels.count("WARNING") <= 1, told
    assert fault.words in told[0].getMessage()
    before = int(keys.field("total_failures") or 0)
    assert _call(breaker, fail) == "f"
    assert int(keys.field("total_failures")) == before + 1


@pytest.mark.usefixtures("both_modes")
def test_the_process_guards_its_calls_alone_for_as_long_as_it_lasts(
    any_server: RunningServer, fault: Fault
) -> None:
    """Its own failures open the circuit, and it stays open over all attempts at the store."""
    with _guarded(any_server.kind, fault) as (server, breaker), fault.begin(server):
        assert [_call(breaker, fail) for _ in range(_RULES["failure_threshold"])] == ["f"] * 3
        ends = time.monotonic() + _FAULT_SECONDS
        while time.monotonic() < ends:
            assert _call(breaker, _succeed) == "r"
            time.sleep(0.01)
