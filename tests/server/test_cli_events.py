"""The commands history and events: what they print, follow and refuse, on real servers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

import msgpack
import pytest

from bb5_breaker._store import embedded
from bb5_breaker._store.opening import open_store
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.cli import main
from bb5_breaker.configuration import Settings
from bb5_breaker.events import Event, EventMetadata, EventType, encode_event
from tests.server.circuits import eventually
from tests.server.test_cli import (
    Command,
    Ran,
    Seed,
    closed_port,
    needs_embedded,
    on_terminal,
    spawn,
)
from tests.support.servers import RunningServer, discover, start

_ROOT = Path(__file__).parents[2]
_PASSWORD = "hunter2-hunter2"
_SECONDS = 20.0
_PIPE = 65_536
_HEAD = ["AT", "GEN", "STATE", "FAILS", "REASON", "BY"]
pytestmark = [pytest.mark.server, pytest.mark.calm]


def environment() -> dict[str, str]:
    """Return the variables of a command, in which Python buffers its output as usual."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "PYTHONPATH": str(_ROOT)}


class Follower:
    """A running ``events --follow``, as a process of its own.

    Args:
        server: Where the circuits are; None names none.
        prefix: Their prefix.
        words: Further arguments.
    """

    def __init__(self, server: RunningServer | None, prefix: str, *words: str) -> None:
        named = [] if server is None else ["--redis", server.url]
        place = [*named, "--prefix", prefix]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bb5_breaker", "events", "--follow", *place, *words],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads: list[threading.Thread] = []
        self._out = self._lines_of(self.process.stdout)
        self._err = self._lines_of(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def line(self, seconds: float = _SECONDS) -> str:
        """Return the next line on stdout."""
        return self._next(self._out, seconds)

    def note(self) -> str:
        """Return the next line on stderr."""
        return self._next(self._err, _SECONDS)

    def interrupt(self) -> tuple[int, list[str], list[str]]:
        """Press Ctrl-C; return the exit code and the lines that were not asked for yet."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(_SECONDS)
        for thread in self._threads:
            thread.join()
        return code, list(_left_in(self._out)), list(_left_in(self._err))

    def _lines_of(self, pipe: IO[str]) -> queue.Queue[str]:
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            for line in pipe:
                lines.put(line)

        thread = threading.Thread(target=read)
        thread.start()
        self._threads.append(thread)
        return lines

    def _next(self, lines: queue.Queue[str], seconds: float) -> str:
        try:
            return lines.get(timeout=seconds)
        except queue.Empty:
            pytest.fail(f"no line within {seconds} s; stderr: {list(_left_in(self._err))}")


def _left_in(lines: queue.Queue[str]) -> Iterator[str]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield lines.get_nowait()


def count_listeners(server: RunningServer, prefix: str) -> int:
    """Return how many hear the channels of a fleet, by an event that no command prints."""
    custom = encode_event(Event(EventMetadata("1", EventType.CUSTOM, "now"), {"service": "a"}))
    with server.client() as client:
        return int(client.publish(f"{prefix}.a", custom))


def await_next_moment(seed: Seed) -> None:
    """Wait until the server's clock, which counts milliseconds, tells another time."""
    client = seed.store.client
    seconds, micros = client.time()
    eventually(lambda: client.time() > (seconds, micros + 1000), "the clock goes on")


@contextlib.contextmanager
def following(server: RunningServer, prefix: str, *words: str) -> Iterator[Follower]:
    """Follow, from when it is in force."""
    with Follower(server, prefix, *words) as follower:
        eventually(lambda: count_listeners(server, prefix), "it listens", _SECONDS)
        yield follower


@contextlib.contextmanager
def piped(
    server: RunningServer, prefix: str, *form: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Follow from the beginning into a pipe; the test reads and closes the other end."""
    reading, writing = os.pipe()
    words = ["--since", "beginning", "--redis", server.url, "--prefix", prefix, *form]
    process = subprocess.Popen(
        [sys.executable, "-m", "bb5_breaker", "events", "--follow", *words],
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    try:
        yield process, reading
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def embedded_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for the embedded server that only this test uses, and no other Redis."""
    base = Path(tempfile.mkdtemp(prefix="bb5-cli-", dir="/tmp"))
    monkeypatch.delenv("BB5_REDIS_URL", raising=False)
    monkeypatch.setenv("BB5_EMBEDDED_DIR", str(base / "e"))
    yield base / "e"
    embedded.release(base / "e")
    embedded.stop(base / "e", force=True)
    shutil.rmtree(base)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process."""

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = main(words)
        written = capsys.readouterr()
        return Ran(code, written.out, written.err)

    return run


@pytest.fixture
def place(redis_url: str, prefix: str) -> list[str]:
    """Options that name a server of each kind, and the test's own prefix."""
    return ["--redis", redis_url, "--prefix", prefix]


@pytest.fixture
def seed(redis_url: str, prefix: str) -> Seed:
    """Circuits on a server of each kind."""
    return Seed(redis_url, prefix)


@pytest.fixture
def own_seed(own_server: RunningServer, prefix: str) -> Seed:
    """Circuits on a server that nobody else talks to."""
    return Seed(own_server.url, prefix)


@pytest.fixture
def guarded_server() -> Iterator[RunningServer]:
    """A server with a password."""
    with start(discover()[0], config={"requirepass": _PASSWORD}, tcp=True) as server:
        yield server


def events_in(ran: Ran) -> list[dict[str, Any]]:
    """Return the events that a command printed as JSON Lines."""
    return [json.loads(line) for line in ran.out.splitlines()]


def steps(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the service and the state entered of each event."""
    return [(each["data"]["service"], each["data"]["state"]) for each in events]


def ids(events: list[dict[str, Any]]) -> list[str]:
    """Return the id of each event."""
    return [each["metadata"]["event_id"] for each in events]


class TestHistory:
    """One circuit."""

    def test_it_is_a_table_with_the_latest_first(self, seed: Seed, place: list[str]) -> None:
        """One transition a line, under the same heads as those of show."""
        seed.half_open("agent.a")
        seed.open("other")
        ran = spawn("history", "agent.a", *place)
        head, *rows = [line.split() for line in ran.out.splitlines()]
        assert (ran.code, ran.err, head) == (0, "", _HEAD)
        assert [row[2:6] for row in rows] == [
            ["2", "half-open", "5", "timeout_elapsed"],
            ["1", "open", "5", "failure_threshold"],
        ]

    def test_as_json_it_is_one_document(self, seed: Seed, place: list[str]) -> None:
        """The events have the form that a subscriber gets."""
        seed.half_open("agent.a")
        document = spawn("history", "agent.a", "--json", *place).document
        assert set(document) == {"store", "prefix", "service_id", "events"}
        assert document["service_id"] == "agent.a"
        assert steps(document["events"]) == [("agent.a", "half_open"), ("agent.a", "open")]
        latest = document["events"][0]
        assert set(latest) == {"metadata", "data"}
        assert latest["metadata"]["event_type"] == "circuit.half_open"
        assert latest["data"]["previous_state"] == "open"

    def test_limit_and_since_choose_a_part(self, seed: Seed, place: list[str]) -> None:
        """A limit alone leaves the latest, with --since the next ones."""
        seed.half_open("a")
        seed.open("a")
        words = ["history", "a", "--json", *place]
        latest_first = ids(spawn(*words).document["events"])
        assert len(latest_first) >= 2
        oldest = latest_first[-1]
        assert ids(spawn(*words, "--limit", "1").document["events"]) == latest_first[:1]
        assert ids(spawn(*words, "--since", oldest).document["events"]) == latest_first[:-1]
        first = spawn(*words, "--since", "beginning", "--limit", "1").document["events"]
        assert ids(first) == [oldest]

    def test_a_circuit_without_transitions_is_none_that_is_unknown(
        self, any_server: RunningServer, prefix: str
    ) -> None:
        """The one ends with 0 and says so, the other with 1."""
        Seed(any_server.url, prefix).closed("quiet")
        place = ["--redis", any_server.url, "--prefix", prefix]
        ran = spawn("history", "quiet", *place)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith("no transitions of quiet to show at ")
        assert spawn("history", "quiet", "--json", *place).document["events"] == []
        ran = spawn("history", "nobody", *place)
        assert (ran.code, ran.out) == (1, "")
        assert "no circuit 'nobody' at " in ran.err

    def test_entries_that_are_none_of_ours_are_left_out(
        self, any_server: RunningServer, prefix: str
    ) -> None:
        """Whatever somebody else added."""
        seed = Seed(any_server.url, prefix)
        seed.open("a")
        seed.store.client.xadd(seed.key("a", ":events"), {"state": "\x1b[31m"})
        place = ["--redis", any_server.url, "--prefix", prefix]
        assert len(spawn("history", "a", *place).out.splitlines()) == 2


class TestEvents:
    """What the histories of the fleet hold."""

    def test_it_is_one_line_each_the_oldest_first(self, seed: Seed, place: list[str]) -> None:
        """Time, service, both states, failures, why and by whom, and the id at the end."""
        seed.half_open("agent.a")
        await_next_moment(seed)
        seed.open("b")
        ran = spawn("events", *place)
        first, second, third = [line.split() for line in ran.out.splitlines()]
        assert (ran.code, ran.err) == (0, "")
        assert first[2:6] == ["UTC", "agent.a", "closed", "->"]
        assert first[6:11] == ["open", "5", "failures", "failure_threshold", "by"]
        assert first[12].endswith(":agent.a")
        assert second[3:7] == ["agent.a", "open", "->", "half-open"]
        assert third[3:7] == ["b", "closed", "->", "open"]

    def test_as_json_it_is_one_object_a_line(self, seed: Seed, place: list[str]) -> None:
        """The form that a subscriber gets."""
        seed.half_open("agent.a")
        await_next_moment(seed)
        seed.open("b")
        ran = spawn("events", "--json", *place)
        events = events_in(ran)
        assert (ran.code, ran.err) == (0, "")
        assert steps(events) == [("agent.a", "open"), ("agent.a", "half_open"), ("b", "open")]
        assert all(set(event) == {"metadata", "data"} for event in events)

    def test_a_pattern_chooses_services(self, seed: Seed, place: list[str]) -> None:
        """A glob is matched against whole ids; one that matches nothing ends with 1."""
        for service in ("agent.a", "agent.b", "other"):
            seed.open(service)
        ran = spawn("events", "--service", "agent.*", "--json", *place)
        assert steps(events_in(ran)) == [("agent.a", "open"), ("agent.b", "open")]
        ran = spawn("events", "--service", "agent", *place)
        assert (ran.code, ran.out) == (1, "")
        assert "no circuit matches 'agent'" in ran.err

    def test_a_limit_leaves_the_latest(self, seed: Seed, place: list[str]) -> None:
        """Still the oldest of them first; 100 when none is given."""
        services = [f"s{number:03}" for number in range(103)]
        for service in services:
            seed.open(service)
        ran = spawn("events", "--json", "--limit", "2", *place)
        assert steps(events_in(ran)) == [("s101", "open"), ("s102", "open")]
        assert [step[0] for step in steps(events_in(spawn("events", "--json", *place)))] == (
            services[3:]
        )

    def test_since_goes_on_where_the_last_line_ended(self, seed: Seed, place: list[str]) -> None:
        """Page by page, with the id of the last line; what follows a page is told."""
        for service in ("a", "b", "c"):
            seed.open(service)
            await_next_moment(seed)
        page = spawn("events", "--since", "beginning", "--limit", "2", *place)
        lines = page.out.splitlines()
        last = lines[-1].split()[-1]
        assert [line.split()[3] for line in lines] == ["a", "b"]
        assert page.err == (
            f"bb5-breaker: there may be more: go on with --since {last}, or raise --limit\n"
        )
        rest = spawn("events", "--since", last, "--json", *place)
        assert (steps(events_in(rest)), rest.err) == ([("c", "open")], "")
        end = spawn("events", "--since", ids(events_in(rest))[0], *place)
        assert (end.code, end.out) == (0, "")
        assert end.err.startswith("bb5-breaker: no transitions since then at ")

    def test_a_fleet_without_transitions_is_no_error(
        self, any_server: RunningServer, prefix: str
    ) -> None:
        """Nothing was asked for by name; stdout is left to events."""
        ran = spawn("events", "--redis", any_server.url, "--prefix", prefix)
        assert (ran.code, ran.out) == (0, "")
        assert ran.err.startswith("bb5-breaker: no transitions at ")

    def test_one_damaged_history_hides_no_other(
        self, any_server: RunningServer, prefix: str
    ) -> None:
        """It is named on stderr; asked for alone it ends with 3."""
        seed = Seed(any_server.url, prefix)
        seed.open("good")
        seed.open("foreign")
        client, key = seed.store.client, seed.key("foreign", ":events")
        client.delete(key)
        client.set(key, "x")
        place = ["--redis", any_server.url, "--prefix", prefix]
        ran = spawn("events", "--json", *place)
        assert (ran.code, steps(events_in(ran))) == (0, [("good", "open")])
        assert "foreign}:events holds a string, not a stream" in ran.err
        ran = spawn("history", "foreign", *place)
        assert (ran.code, ran.out) == (3, "")

    def test_stored_text_is_shown_letter_by_letter(
        self, any_server: RunningServer, prefix: str
    ) -> None:
        """No escape sequence reaches the terminal, and no markup means anything."""
        seed = Seed(any_server.url, prefix)
        seed.open("a")
        key = seed.key("a", ":events")
        ((_, fields),) = seed.store.client.xrange(key)
        evil = b"\x1b]0;owned\x07[bold]E[/bold]\r\nfake: line\xe2\x80\xae"
        forged = {**fields, b"reason": evil, b"changed_by": evil, b"at": evil, b"event_id": evil}
        seed.store.client.xadd(key, forged)
        place = ["--redis", any_server.url, "--prefix", prefix]
        for words in (["events"], ["history", "a"]):
            ran = spawn(*words, *place)
            assert all(line.isprintable() for line in ran.out.splitlines())
            assert len(ran.out.splitlines()) == (2 if words == ["events"] else 3)
            assert r"\x1b]0;owned\x07[bold]E[/bold]\r\nfake: line\u202e" in ran.out
        latest = events_in(spawn("events", "--json", *place))[-1]
        assert latest["data"]["reason"].startswith("\x1b]0;owned")

    def test_colours_are_for_terminals(self, any_server: RunningServer, prefix: str) -> None:
        """There states have theirs and the id is dimmed; in a pipe nothing is."""
        Seed(any_server.url, prefix).open("agent.a")
        words = ["events", "--redis", any_server.url, "--prefix", prefix]
        shown = "".join(on_terminal(words, columns=200))
        assert "\x1b[32mclosed" in shown
        assert "\x1b[1;31mopen" in shown
        assert "\x1b[2m" in shown
        assert "\x1b" not in spawn(*words).out

    def test_a_reader_that_goes_away_is_no_traceback(
        self, any_server: RunningServer, prefix: str
    ) -> None:
        """As with head, which reads a line and ends."""
        Seed(any_server.url, prefix).open("agent.a")
        for form in ([], ["--json"]):
            reading, writing = os.pipe()
            os.close(reading)
            with os.fdopen(writing, "wb") as output:
                words = ["events", *form, "--redis", any_server.url, "--prefix", prefix]
                done = subprocess.run(
                    [sys.executable, "-m", "bb5_breaker", *words],
                    env=environment(),
                    stdout=output,
                    stderr=subprocess.PIPE,
                    timeout=60,
                    check=False,
                )
            assert (done.returncode, done.stderr) == (141, b"")


class TestFollow:
    """What happens, as it happens."""

    def test_a_transition_is_printed_within_a_second(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """What was before is not told; a Ctrl-C ends it as it ends every command."""
        own_seed.open("before")
        with following(own_server, prefix) as follower:
            own_seed.open("agent.a")
            assert follower.line(seconds=1.0).split()[3:7] == ["agent.a", "closed", "->", "open"]
            assert follower.interrupt() == (130, [], ["bb5-breaker: interrupted\n"])

    def test_as_json_it_is_one_object_a_line(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """Each can be read as soon as it is there."""
        with following(own_server, prefix, "--json") as follower:
            own_seed.open("agent.a")
            event = json.loads(follower.line(seconds=1.0))
            assert steps([event]) == [("agent.a", "open")]
            code, out, err = follower.interrupt()
            assert (code, out) == (130, [])
            assert json.loads(err[0])["exit_code"] == 130

    def test_a_pattern_chooses_services(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """Also circuits that come to be later."""
        with following(own_server, prefix, "--service", "agent.*") as follower:
            for service in ("agents", "agent.a", "other", "agent.b"):
                own_seed.open(service)
            assert [follower.line().split()[3] for _ in range(2)] == ["agent.a", "agent.b"]

    def test_it_begins_with_what_happened_since(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """From the beginning or from an id on; then it goes on with what happens, each once."""
        for service in ("a", "b"):
            own_seed.open(service)
            await_next_moment(own_seed)
        with Follower(own_server, prefix, "--since", "beginning") as follower:
            first = follower.line().split()
            assert (first[3], follower.line().split()[3]) == ("a", "b")
            own_seed.open("c")
            assert follower.line().split()[3] == "c"
        with Follower(own_server, prefix, "--since", first[-1]) as follower:
            assert [follower.line().split()[3] for _ in range(2)] == ["b", "c"]
            own_seed.open("d")
            assert follower.line().split()[3] == "d"
            assert follower.interrupt()[:2] == (130, [])

    @pytest.mark.parametrize("form", [[], ["--json"]])
    def test_a_long_past_is_told_in_full(
        self, form: list[str], own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """More than waits anywhere at once."""
        services = [f"s{number:03}" for number in range(350)]
        for service in services:
            own_seed.open(service)
        with Follower(own_server, prefix, "--since", "beginning", *form) as follower:
            told = [follower.line() for _ in services]
            assert sorted(map(_service_in, told)) == services

    def test_other_events_are_left_out(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """Custom ones, what is no event, and transitions of a fleet whose prefix goes on."""
        neighbour = Seed(own_server.url, f"{prefix}.more")
        with following(own_server, prefix) as follower, own_server.client() as client:
            assert count_listeners(own_server, prefix) == 1
            client.publish(f"{prefix}.a", b"nonsense")
            neighbour.open("a")
            own_seed.open("b")
            assert follower.line().split()[3] == "b"

    def test_missed_events_are_a_warning(self, own_server: RunningServer, prefix: str) -> None:
        """It names the circuit when it is known; with a pattern those of others are left out."""
        with (
            following(own_server, prefix, "--service", "agent.*") as follower,
            own_server.client() as client,
        ):
            for service in ("other", "agent.a", None):
                data = {"service": service, "missed": 3, "reason": "too\x1bslow"}
                told = Event(EventMetadata("1", EventType.EVENTS_MISSED, "2030-01-01T00:00Z"), data)
                client.publish(f"{prefix}.agent.a", encode_event(told))
            line = r"  warning: 3 missed: too\x1bslow" + "\n"
            assert follower.line() == f"2030-01-01 00:00 UTC  agent.a{line}"
            assert follower.line() == f"2030-01-01 00:00 UTC  several circuits{line}"

    def test_hostile_messages_end_nothing(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """What JSON can not tell is named on stderr; the command goes on."""
        metadata = {"event_id": "\x1b", "event_type": "circuit.opened", "timestamp": "\x1b[2J"}
        data = {"service": "a", "state": "open", "reason": ["\x1b"], "changed_by": b"\xff"}
        forged = msgpack.packb({"metadata": metadata, "data": data})
        with own_server.client() as client:
            with following(own_server, prefix, "--json") as follower:
                client.publish(f"{prefix}.a", forged)
                assert "can not be told in JSON" in follower.note()
                own_seed.open("b")
                assert steps([json.loads(follower.line())]) == [("b", "open")]
            eventually(lambda: not count_listeners(own_server, prefix), "nobody listens")
            with following(own_server, prefix) as follower:
                client.publish(f"{prefix}.a", forged)
                line = follower.line().removesuffix("\n")
                assert line.isprintable()
                assert line.endswith(r"a  ? -> open  0 failures  ?  by ?  \x1b")

    @pytest.mark.parametrize("form", [[], ["--json"]])
    def test_a_reader_that_goes_away_ends_it(
        self, form: list[str], own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """As head does; quietly, and soon, though nothing more happens."""
        own_seed.open("a")
        with piped(own_server, prefix, *form) as (process, reading):
            assert b"a" in os.read(reading, 4096)
            os.close(reading)
            _, told = process.communicate(timeout=_SECONDS)
            assert (process.returncode, told) == (141, b"")

    def test_a_reader_that_goes_away_ends_it_in_the_midst(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """Also while there is more to print than a pipe takes."""
        for number in range(300):
            own_seed.open(f"s{number}")
        with piped(own_server, prefix, "--json") as (process, reading):
            assert os.read(reading, 10)
            os.close(reading)
            _, told = process.communicate(timeout=_SECONDS)
            assert (process.returncode, told) == (141, b"")

    def test_an_interrupt_ends_it_while_the_reader_sleeps(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """The pipe is full, and nobody makes room in it."""
        for number in range(300):
            own_seed.open(f"s{number}")
        with piped(own_server, prefix, "--json") as (process, reading):
            eventually(lambda: _is_stuck(reading), "the pipe is full", _SECONDS)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=_SECONDS)
            os.close(reading)
            assert process.returncode == 130
            # Nothing waited for the reader, or for the bus to end.
            assert json.loads(told) == {"error": "interrupted", "exit_code": 130}

    def test_a_lost_server_is_told_and_found_again(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """One line on stderr each; the command goes on, and prints what happens then."""
        with following(own_server, prefix) as follower:
            own_server.kill()
            assert re.match("bb5-breaker: .* can not be reached", follower.note())
            own_server.restart()
            assert "again" in follower.note()
            own_seed.open("later")
            assert follower.line().split()[3] == "later"
            assert follower.interrupt() == (130, [], ["bb5-breaker: interrupted\n"])

    def test_a_transition_while_nothing_is_heard_is_told_later(
        self, own_server: RunningServer, own_seed: Seed, prefix: str
    ) -> None:
        """The histories have what was published while the connection was cut."""
        with following(own_server, prefix) as follower, own_server.client() as client:
            own_seed.open("first")
            assert follower.line().split()[3] == "first"
            with client.pipeline() as cut:
                cut.client_kill_filter(_type="pubsub")
                cut.execute()
            own_seed.open("second")
            assert follower.line().split()[3] == "second"

    def test_it_leaves_the_server_and_its_histories_as_they_are(
        self, own_server: RunningServer, prefix: str
    ) -> None:
        """No setting is changed, and an open period that ends cuts off nothing old."""
        seed = long_kept(own_server, prefix)
        with own_server.client(decode_responses=True) as client:
            settings = client.config_get("notify-keyspace-events")
            seed.open("a", timeout=1.0)
            with following(own_server, prefix) as follower:
                assert follower.line().split()[3:7] == ["a", "open", "->", "half-open"]
                assert client.config_get("notify-keyspace-events") == settings
            assert client.xlen(seed.key("a", ":events")) == 3


def long_kept(server: RunningServer, prefix: str) -> Seed:
    """Return circuits that keep their histories for a year; of "a" there is an old entry."""
    seed = Seed(server.url, prefix)
    rules = Settings(prefix=prefix, history_age=366 * 86_400.0).rules
    store = open_store(server.url, rules, 5.0)
    assert isinstance(store, RedisStore)
    seed.store = store
    month_ago = (store.client.time()[0] - 30 * 86_400) * 1000
    store.client.xadd(seed.key("a", ":events"), {"state": "closed"}, f"{month_ago}-0")
    return seed


def test_a_reset_cuts_off_nothing_old(own_server: RunningServer, prefix: str) -> None:
    """The command keeps histories for as long as anybody may."""
    seed = long_kept(own_server, prefix)
    seed.open("a")
    assert spawn("reset", "a", "--redis", own_server.url, "--prefix", prefix).code == 0
    assert seed.store.client.xlen(seed.key("a", ":events")) == 3


class TestUsage:
    """Wrong inputs, servers that are not there, and help."""

    @pytest.mark.parametrize(
        "words",
        [
            ["history"],
            ["history", "a", "b"],
            ["history", "a b"],
            ["history", "a*"],
            ["history", "a", "--limit", "0"],
            ["history", "a", "--limit", "many"],
            ["history", "a", "--since", "now"],
            ["history", "a", "--since", "yesterday"],
            ["history", "a", "--since", ""],
            ["events", "agent.*"],
            ["events", "--limit", "0"],
            ["events", "--limit", "1000001"],
            ["events", "--limit", "x"],
            ["events", "--since", "now"],
            ["events", "--since", "\x1b[31m"],
            ["events", "--since", "1-"],
            ["events", "--since", f"{2**64}-0"],
            ["events", "--since", f"{2**64 - 1}-{2**64 - 1}:a"],
            ["events", "--service", ""],
            ["events", "--service", "a b"],
            ["events", "--service", "a\x1b*"],
            ["events", "--service", "{a}"],
            ["events", "--follow", "--since", ""],
            ["events", "--follow", "--since", "1"],
            ["events", "--follow", "--limit", "5"],
            ["events", "--follow", "--service", "a b"],
            ["events", "--prefix", "a b"],
            ["events", "--redis", "http://localhost"],
            ["events", "--follow", "--redis", "private://"],
        ],
    )
    def test_wrong_usage_ends_with_2(self, words: list[str], command: Command) -> None:
        """Nothing on stdout, one line on stderr, before any server is asked."""
        named = [] if "--redis" in words else ["--redis", f"redis://127.0.0.1:{closed_port()}"]
        ran = command(*words, *named)
        assert (ran.code, ran.out) == (2, "")
        assert len(ran.err.splitlines()) == 1
        assert "\x1b" not in ran.err

    @pytest.mark.parametrize("words", [["history", "a"], ["events"], ["events", "--follow"]])
    def test_a_redis_that_is_not_there_ends_with_3(
        self, words: list[str], command: Command
    ) -> None:
        """One line that names the address, without its password."""
        url = f"redis://:{_PASSWORD}@127.0.0.1:{closed_port()}/0"
        ran = command(*words, "--redis", url)
        assert (ran.code, ran.out) == (3, "")
        assert len(ran.err.splitlines()) == 1
        assert "redis://127.0.0.1:" in ran.err
        assert _PASSWORD not in ran.err
        ran = command(*words, "--json", "--redis", url)
        assert json.loads(ran.err)["exit_code"] == 3

    def test_a_password_is_used_and_never_shown(self, guarded_server: RunningServer) -> None:
        """Also by the bus, and in what it tells of a lost connection."""
        seed = Seed(guarded_server.admin_url, "circuit_breaker")
        seed.open("agent.a")
        wrong = guarded_server.admin_url.replace(_PASSWORD, "wrong-wrong")
        for words in (["history", "agent.a"], ["events"], ["events", "--follow"]):
            refused = spawn(*words, "--redis", wrong)
            assert (refused.code, refused.out) == (3, "")
            assert "refused the user's name or password" in refused.err
            assert "wrong-wrong" not in refused.err
        with Follower(guarded_server, "circuit_breaker", "--since", "beginning") as follower:
            assert follower.line().split()[3] == "agent.a"
            guarded_server.kill()
            assert _PASSWORD not in follower.note()

    @pytest.mark.parametrize("words", [["history", "a"], ["events"], ["events", "--follow"]])
    @pytest.mark.parametrize("named", [[], ["--redis", "embedded://"]])
    def test_reading_starts_no_embedded_server(
        self, words: list[str], named: list[str], command: Command, embedded_home: Path
    ) -> None:
        """Without any Redis a command says how to have one, ends with 1, and makes nothing."""
        ran = command(*words, *named)
        assert (ran.code, ran.out) == (1, "")
        assert "bb5-breaker server start" in ran.err
        assert not embedded_home.exists()

    @needs_embedded
    def test_an_embedded_server_is_followed_and_not_started_again(
        self, command: Command, embedded_home: Path
    ) -> None:
        """It is found without being named; when it ends the follower does not bring it back."""
        url = command("server", "start", "--json").document["url"]
        Seed(url, "circuit_breaker").open("agent.a")
        with Follower(None, "circuit_breaker", "--since", "beginning") as follower:
            assert follower.line().split()[3] == "agent.a"
            assert command("server", "stop").code == 0
            assert re.match("bb5-breaker: .* can not be reached", follower.note())
            assert command("server", "status").code == 1
            assert follower.interrupt()[0] == 130

    @pytest.mark.parametrize("name", ["history", "events"])
    def test_the_help_tells_options_and_exit_codes(self, name: str, command: Command) -> None:
        """Each has what it takes, and what it ends with."""
        ran = command(name, "--help")
        assert ran.code == 0
        assert "Exit codes: 0 done; 1 nothing found" in ran.out
        for option in ("--redis", "--prefix", "--limit", "--since", "--json"):
            assert option in ran.out
        assert ("--follow" in ran.out) is (name == "events")
        listed = command("--help").out
        assert f"  {name} " in listed


def _is_stuck(pipe: int) -> bool:
    """Return True when a pipe is full and nothing has moved for a while."""
    before = _bytes_in(pipe)
    time.sleep(0.2)
    return _PIPE - 4096 < before == _bytes_in(pipe)


def _bytes_in(pipe: int) -> int:
    answer = fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


def _service_in(line: str) -> str:
    return json.loads(line)["data"]["service"] if line.startswith("{") else line.split()[3]
