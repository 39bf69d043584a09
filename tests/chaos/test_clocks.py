"""Workers whose clocks are wrong by an hour, or are set while they run."""

from __future__ import annotations

import ctypes.util
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import Keys

_FAKETIME = next(
    (
        path
        for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        if sys.platform == "linux"
    ),
    ctypes.util.find_library("faketime"),
)


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize(
    "how",
    [
        "patched",
        pytest.param(
            "libfaketime",
            marks=pytest.mark.skipif(_FAKETIME is None, reason="libfaketime is not installed"),
        ),
    ],
)
def test_a_worker_whose_clock_is_an_hour_wrong_changes_nothing(
    any_server: RunningServer, prefix: str, hours: int, how: str
) -> None:
    """It trips, is rejected, probes and closes by the server's clock; others see the right end."""
    rules = {"failure_threshold": 2, "timeout_seconds": 0.4, "success_threshold": 1}
    wrong = Assignment(
        any_server.url,
        prefix,
        config=rules,
        clock_offset=3600.0 * hours if how == "patched" else 0.0,
    )
    fake = {"LD_PRELOAD": str(_FAKETIME), "FAKETIME": f"{3600 * hours:+d}s"}
    keys = Keys(any_server.client(), prefix)
    with (
        Crew(1, wrong, environment=fake if how == "libfaketime" else None) as wrong_crew,
        Crew(1, Assignment(any_server.url, prefix, config=rules)) as right_crew,
    ):
        (worker,), (other,) = wrong_crew.workers, right_crew.workers
        assert abs(worker.ask("read_clocks")[0] - time.time() - 3600 * hours) < 60
        before = time.time()
        assert worker.ask("calls", outcomes="ff") == "ff"
        after = time.time()
        ends = int(keys.field("open_until_ms")) / 1000
        assert before + 0.399 <= ends <= after + 0.401
        rejected = other.ask("begin")
        assert rejected["retry_at"] == pytest.approx(ends, abs=0.002)
        assert 0 < rejected["remaining"] <= 0.4
        own_view = worker.ask("begin")
        assert own_view["retry_at"] == pytest.approx(ends, abs=0.002)
        assert 0 < own_view["remaining"] <= 0.4
        time.sleep(max(0.0, ends - time.time()) + 0.02)
        assert worker.ask("calls", outcomes="s") == "s"
        assert other.ask("state") == worker.ask("state") == "closed"
    assert keys.transitions() == [("open", 1), ("half_open", 2), ("closed", 3)]


@pytest.mark.skipif(_FAKETIME is None, reason="libfaketime is not installed")
@pytest.mark.usefixtures("both_modes")
def test_clocks_that_are_set_while_workers_call_change_nothing(
    any_server: RunningServer, prefix: str, tmp_path: Path
) -> None:
    """An hour to and fro, twenty times: every open period is as long as the server's clock says."""
    rules: dict[str, Any] = {
        "failure_threshold": 1,
        "timeout_seconds": 0.15,
        "reset_timeout": 0.0,
        "success_threshold": 1,
        "probe_lease": 0.5,
    }
    setting = tmp_path / "clock"
    _set(setting, 0)
    # The time of day is set; no clock that only counts ever is.
    environment = {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(setting),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    assignment = Assignment(any_server.url, prefix, config=rules)
    client = any_server.client()
    keys = Keys(client, prefix)
    with Crew(2, assignment, environment) as crew, Crew(1, assignment) as right:
        until = time.monotonic() + 2.0
        workers = [*crew.workers, *right.workers]
        for worker, outcome in zip(workers, "sfs", strict=True):
            worker.send("watched_calls", until=until, hold=0.01, outcome=outcome)
        hours = 0
        while time.monotonic() < until - 0.1:
            hours = {0: 1, 1: -1, -1: 0}[hours]
            _set(setting, hours)
            time.sleep(0.1)
        for worker in workers:
            assert worker.receive(), "it never got through"
        _set(setting, -1)
        seen = {round((worker.ask("read_clocks")[0] - time.time()) / 3600) for worker in workers}
    assert seen == {-1, 0}, "the clocks were never wrong"
    entries: Any = client.xrange(keys.events)
    moments = [(fields[b"state"].decode(), int(name.split(b"-")[0])) for name, fields in entries]
    opened = [
        later - earlier for (state, earlier), (_, later) in pairwise(moments) if state == "open"
    ]
    assert len(opened) >= 2
    assert min(opened) >= 1000 * rules["timeout_seconds"]
    # The first to know that it is over ends it, whatever the time of day is where.
    assert max(opened) < 1000 * rules["timeout_seconds"] + 500
    generations = [number for _, number in keys.transitions()]
    assert generations == list(range(1, len(generations) + 1))


def _set(setting: Path, hours: int) -> None:
    """Set the clocks, in one step: nobody reads half a line."""
    written = setting.with_suffix(".new")
    written.write_text(f"{3600 * hours:+d}s")
    written.replace(setting)
