"""Users who may do only what they need: all works, and each right is needed and named."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerManager, configure
from bb5_breaker._bus import group_streams
from bb5_breaker._core.commands import Reset
from bb5_breaker._core.policy import Circuit
from bb5_breaker._doctor import rights
from bb5_breaker._doctor.deeds import rights_of
from bb5_breaker._doctor.findings import Severity
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._doctor.role import Role
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker.cli import main
from bb5_breaker.cli.target import find_store
from bb5_breaker.exceptions import StorePermissionError
from tests.server.test_cli import Seed
from tests.server.test_cli_events import Follower
from tests.support.buses import PATIENCE, Buses, Heard, fail, wait_until
from tests.support.rights import Complaints, Exercise, load_scripts, make_role, make_user
from tests.support.servers import RunningServer

pytestmark = pytest.mark.calm

_ROOT: Final = Path(__file__).resolve().parents[2]
_PAGE: Final = _ROOT / "docs" / "SECURITY.md"
_BLOCK: Final = re.compile(r"^```bash\n(redis-cli ACL SETUSER .*?)^```$", re.MULTILINE | re.DOTALL)
_FULL: Final = "PREFIX"
# Something may stand in for it; tests of its own look at that.
_EVAL: Final = "+eval"
# What only doctor does.
_DOCTORS: Final = {"+info", "+multi", "+ping"}
# A refusal in a script tells the command, not the channel.
_TOLD_AS: Final = {f"&{_FULL}.*": "PUBLISH", f"~{_FULL}:{{*}}*": f"{_FULL}:{{a}}"}
_RULES: Final = CircuitBreakerConfig(
    failure_threshold=1,
    timeout_seconds=0.1,
    success_threshold=1,
    reset_timeout=0.0,
    call_timeout=None,
)
_ROLES_RIGHTS: Final = [
    pytest.param(role, right, id=f"{role}-{right}")
    for role in Role
    for right in rights_of(role, _FULL, 0)
    if right != _EVAL
]
_WRITERS_RIGHTS: Final = [
    pytest.param(role, right, id=f"{role}-{right}")
    for role in (Role.BREAKER, Role.BUS)
    for right in rights_of(role, _FULL, 0)
    if right not in {_EVAL, *_DOCTORS}
    # The rights of a breaker are a part of those of a bus.
    and (role is Role.BREAKER or right not in rights_of(Role.BREAKER, _FULL, 0))
]


@pytest.fixture(autouse=True)
def _users_removed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take the users of the test away from the shared servers."""
    names = {"server", "any_server"}.intersection(request.fixturenames)
    servers: list[RunningServer] = [request.getfixturevalue(name) for name in names]
    yield
    for server in servers:
        with server.client() as client:
            for user in client.acl_users():
                if user.startswith("least-"):
                    client.execute_command("ACL", "DELUSER", user)


@pytest.fixture
def _names_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let names of consumers be old at once, not after hours."""
    monkeypatch.setattr(group_streams, "_FORGET_MS", -1)


def parts_of(role: Role, exercise: Exercise) -> list[Callable[[], None]]:
    """Return what a user of a role does."""
    if role is Role.READER:
        return [exercise.reads]
    if role is Role.BREAKER:
        return [exercise.scripts, exercise.reads, exercise.feed, exercise.forgetting]
    return [exercise.scripts, exercise.reads, exercise.bus, exercise.group, exercise.forgetting]


class TestEnough:
    """All works with these rights and no others."""

    @pytest.mark.usefixtures("_names_expire")
    @pytest.mark.parametrize("role", Role)
    def test_nothing_is_refused(self, server: RunningServer, prefix: str, role: Role) -> None:
        """Whatever the library sends in any of its states."""
        exercise = Exercise(server, make_role(server, role, prefix), prefix)
        assert exercise.do(*parts_of(role, exercise)) == []

    def test_the_life_of_a_fleet(self, server: RunningServer, prefix: str) -> None:
        """Open, half-open, closed, events, a group, a health check, histories, as users see it."""
        url, complaints = make_role(server, Role.BUS, prefix), Complaints()
        configure(url, prefix=prefix, store_timeout=5.0)
        buses, heard, paged = Buses(url, prefix), Heard(), Heard()
        try:
            with complaints.listening():
                bus = buses.connect(keyspace_notifications=False)
                manager = CircuitBreakerManager()
                breaker = manager.get_breaker("a", config=_RULES)
                fail(breaker)
                assert breaker.is_open
                bus.subscribe("circuit_breaker.*", heard, since="beginning")
                consumer = bus.consume("pager", paged, since="beginning")
                wait_until(lambda: breaker.is_half_open)
                assert breaker.call(lambda: "well") == "well"
                assert breaker.is_closed
                fail(breaker)
                breaker.reset()
                checked = CircuitBreaker("b", _RULES, health_check=lambda: True)
                fail(checked)
                assert checked.wait_until_closed(PATIENCE)
                wait_until(lambda: len(heard.events) == len(paged.events) == 8)
                assert consumer.stop(PATIENCE)
                assert len(manager.history(100, "beginning")) == 8
                assert list(manager.get_all_stats()) == ["a", "b"]
                assert manager.get_open_circuits() == []
                breaker.forget()
                assert list(CircuitBreakerManager().get_all_stats()) == ["b"]
        finally:
            buses.close()
        assert complaints.texts == []

    def test_without_eval_when_the_scripts_are_known(
        self, own_server: RunningServer, prefix: str
    ) -> None:
        """Somebody else makes them known; without that the missing right is named."""
        role = Role.BREAKER
        for number in range(2):
            url = make_role(own_server, role, f"{prefix}{number}", without=_EVAL)
            exercise = Exercise(own_server, url, f"{prefix}{number}")
            complaints = exercise.do(exercise.scripts, exercise.reads, exercise.forgetting)
            (found,) = [
                each for each in examine(url, f"{prefix}{number}", role) if each[0] != Severity.OK
            ]
            if number == 0:
                assert complaints
                assert all("no right to run EVAL;" in text for text in complaints)
                assert found[0] is Severity.PROBLEM
                load_scripts(own_server)
            else:
                assert complaints == []
                assert found[0] is Severity.WARNING
                assert "load-scripts" in found[1]

    def test_without_eval_but_with_script_load(
        self, own_server: RunningServer, prefix: str
    ) -> None:
        """The one stands in for the other."""
        granted = [each for each in rights_of(Role.BREAKER, prefix, 0) if each != _EVAL]
        url = make_user(own_server, "loader", [*granted, "+script|load"])
        exercise = Exercise(own_server, url, prefix)
        assert exercise.do(exercise.scripts, exercise.reads, exercise.forgetting) == []
        assert [severity for severity, _ in examine(url, prefix, Role.BREAKER)] == [Severity.OK] * 2

    def test_the_command_loads_them(
        self, own_server: RunningServer, prefix: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """By somebody who may."""
        assert main(["load-scripts", "--redis", own_server.admin_url]) == 0
        assert "knows the" in capsys.readouterr().out
        url = make_role(own_server, Role.BREAKER, prefix, without=_EVAL)
        exercise = Exercise(own_server, url, prefix)
        assert exercise.do(exercise.scripts) == []

    def test_fleets_are_apart(self, any_server: RunningServer, prefix: str) -> None:
        """The user of one prefix may use no key and no channel of another."""
        url = make_role(any_server, Role.BUS, prefix)
        ((severity, told),) = examine(url, f"{prefix}-other", Role.BUS)
        assert severity is Severity.PROBLEM
        missing = shlex.split(told.rpartition(" ACL SETUSER ")[2])[1:]
        every = rights_of(Role.BUS, f"{prefix}-other", 0)
        assert sorted(missing) == sorted(right for right in every if right[0] != "+")

    def test_another_database(self, any_server: RunningServer, prefix: str) -> None:
        """Takes one right more."""
        granted = rights_of(Role.BREAKER, prefix, 3)
        assert "+select" in granted
        url = make_user(any_server, f"least-{prefix}", granted)
        url += "?db=3" if url.startswith("unix") else "3"
        assert [severity for severity, _ in examine(url, prefix, Role.BREAKER)] == [Severity.OK]


class TestNoneTooMany:
    """Without any single right something fails, with an error that names it."""

    @pytest.mark.parametrize(("role", "right"), _ROLES_RIGHTS)
    def test_doctor_names_it(
        self, any_server: RunningServer, prefix: str, role: Role, right: str
    ) -> None:
        """With the line that grants it."""
        self._check_doctor(any_server, prefix, role, right)

    @pytest.mark.parametrize("role", Role)
    def test_doctor_names_it_on_each_server(
        self, server: RunningServer, prefix: str, role: Role
    ) -> None:
        """Whatever the server's words are."""
        for number, right in enumerate(rights_of(role, _FULL, 0)):
            if right != _EVAL:
                self._check_doctor(server, f"{prefix}-{number}", role, right)

    @staticmethod
    def _check_doctor(server: RunningServer, prefix: str, role: Role, right: str) -> None:
        missing = right.replace(_FULL, prefix)
        url = make_role(server, role, prefix, without=missing)
        if right in ("+ping", "+info"):
            with pytest.raises(StorePermissionError, match=right[1:].upper()):
                Patient(find_store(url, prefix), 1.0).ask(right[1:].upper().encode())
        if right == "+multi":
            with pytest.raises(StorePermissionError, match="MULTI"):
                examine(url, prefix, role)
            return
        found = examine(url, prefix, role)
        ((severity, told),) = found
        assert severity is Severity.PROBLEM
        repair = told.rpartition("\n")[2]
        granted = shlex.split(repair.partition(" ACL SETUSER ")[2])[1:]
        assert granted == [missing]

    @pytest.mark.usefixtures("_names_expire")
    @pytest.mark.parametrize(("role", "right"), _WRITERS_RIGHTS)
    def test_the_library_names_it(
        self, any_server: RunningServer, prefix: str, role: Role, right: str
    ) -> None:
        """Raised or logged by what needs it."""
        missing = right.replace(_FULL, prefix)
        url = make_role(any_server, role, prefix, without=missing)
        exercise = Exercise(any_server, url, prefix)
        complaints = exercise.do(*parts_of(role, exercise))
        name = _TOLD_AS.get(right, right.strip("+~&*").upper() if right[0] == "+" else missing[1:])
        name = name.replace(_FULL, prefix).removesuffix("*")
        assert any(name.lower() in text.lower() for text in complaints), complaints


class TestReader:
    """Reads all, changes nothing."""

    def test_the_command_line_reads(
        self, server: RunningServer, prefix: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And doctor says that this user may do what a reader does."""
        url = make_role(server, Role.READER, prefix)
        self._open(server, prefix)
        place = ["--redis", url, "--prefix", prefix]
        for words in (["status"], ["show", "a"], ["history", "a"], ["events"]):
            assert main([*words, *place]) == 0
            assert "open" in capsys.readouterr().out
        assert main(["doctor", "--role", "reader", "--store-timeout", "60", *place]) == 0
        told = capsys.readouterr().out
        assert "may do all that a reader does" in told
        assert "1 of 1 circuits" in told

    def test_a_write_is_refused(
        self, server: RunningServer, prefix: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With an error that names a right, and the circuit as it was."""
        url = make_role(server, Role.READER, prefix)
        self._open(server, prefix)
        key = CircuitKeys.of(prefix, "a").circuit
        with server.client() as client:
            before = client.hgetall(key)
            assert main(["reset", "a", "--redis", url, "--prefix", prefix]) == 3
            assert "the user has no right to run XLEN; grant it" in capsys.readouterr().err
            assert client.hgetall(key) == before
        configure(url, prefix=prefix, store_timeout=5.0)
        with pytest.raises(StorePermissionError, match="no right"):
            CircuitBreaker("a", _RULES).reset()

    def test_it_follows_and_leaves_open_periods_to_others(
        self, any_server: RunningServer, prefix: str
    ) -> None:
        """Without a word: it is no trouble of the server that a reader may not end them."""
        url = make_role(any_server, Role.READER, prefix)
        words = ("--redis", url, "--since", "beginning", "--json")
        with Follower(any_server, prefix, *words) as follower:
            # By no process that would end the open period, so that only the reader knows it.
            seed = Seed(any_server.url, prefix)
            seed.open("a", timeout=0.2)
            assert '"open"' in follower.line()
            time.sleep(1.0)
            seed.store.run(Reset(Circuit.of("a", _RULES)))
            assert '"closed"' in follower.line()
            code, _, notes = follower.interrupt()
        assert code == 130
        assert [json.loads(note)["error"] for note in notes] == ["interrupted"]

    @staticmethod
    def _open(server: RunningServer, prefix: str) -> None:
        Seed(server.url, prefix).open("a", timeout=3600.0)


class TestDocumentation:
    """The lines in the documentation are those that the command prints, and they work."""

    @pytest.mark.parametrize(("number", "role"), list(enumerate(Role)))
    def test_the_lines(
        self,
        own_server: RunningServer,
        capsys: pytest.CaptureFixture[str],
        number: int,
        role: Role,
    ) -> None:
        """One for each role, in the order of the roles."""
        lines = _BLOCK.findall(_PAGE.read_text())
        assert len(lines) == len(Role)
        assert main(["acl", "--role", role]) == 0
        assert lines[number] == capsys.readouterr().out
        words = shlex.split(lines[number].replace("\\\n", ""))
        with own_server.client() as client:
            client.execute_command(*words[1:])
            rules = client.acl_getuser(words[3])
        assert rules["enabled"] is True
        url = own_server.admin_url.replace("://", f"://{words[3]}:PASSWORD@", 1)
        assert [severity for severity, _ in examine(url, "circuit_breaker", role)] == [Severity.OK]

    def test_the_command_takes_a_prefix_and_a_database(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And refuses a malformed prefix."""
        assert main(["acl", "--prefix", "mine", "--database", "2", "--json"]) == 0
        told = capsys.readouterr().out
        assert '"~mine:{*}*"' in told
        assert '"+select"' in told
        assert main(["acl", "--prefix", "mine*"]) == 2


def examine(url: str, prefix: str, role: Role) -> list[tuple[Severity, str]]:
    """Return what doctor finds of the rights of a user."""
    found = rights.check(Patient(find_store(url, prefix), 1.0), role)
    return [
        (each.severity, "\n".join([each.found, each.advice, each.repair or ""])) for each in found
    ]
