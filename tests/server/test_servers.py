"""The servers that all other tests stand on: they start, answer, and can be harmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.support.fleet import Fleet, HarmedServerError
from tests.support.kinds import first_of_each_name, narrow
from tests.support.servers import (
    Origin,
    RunningServer,
    ServerKind,
    ServerStartError,
    discover,
    start,
)

pytestmark = pytest.mark.calm

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_server(server: RunningServer) -> Iterator[RunningServer]:
    """A server of the same kind that the test may harm."""
    with start(server.kind) as own:
        yield own


@pytest.fixture
def keys_left_behind(server: RunningServer) -> Iterator[list[str]]:
    """A list of patterns; when the test and its prefix are done, no key may match one.

    A test names it before `prefix`, so that it looks after the keys were removed.
    """
    patterns: list[str] = []
    yield patterns
    with server.client() as client:
        assert [key for pattern in patterns for key in client.scan_iter(match=pattern)] == []


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition, and fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def test_each_server_runs_a_script_with_its_clock(server: RunningServer) -> None:
    """A script reads the server's time and replies with it, near the time of this machine."""
    script = "local t = redis.call('TIME') return {t[1], cjson.encode({ARGV[1]}), 3.9}"
    with server.client(decode_responses=True) as client:
        seconds, text, cut = client.eval(script, 0, "x")
    assert abs(int(seconds) - time.time()) < 60
    assert text == '["x"]'
    assert cut == 3


def test_each_server_tells_the_version_it_was_found_as(server: RunningServer) -> None:
    """What the binary said when it was found is what the server says when it runs."""
    assert server.reported_version().startswith(server.kind.version)


def test_a_server_keeps_nothing_and_listens_on_its_socket_only(own_server: RunningServer) -> None:
    """Neither snapshots nor a log of commands nor a TCP port, unless asked for."""
    if own_server.kind.origin is Origin.DOCKER:
        pytest.skip("a container is reached over TCP")
    with own_server.client(decode_responses=True) as client:
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("port") == {"port": "0"}
    assert own_server.socket is not None
    assert own_server.socket.is_socket()


def test_a_paused_server_is_silent_until_resumed(own_server: RunningServer) -> None:
    """A frozen server still takes connections and answers none of them."""
    own_server.pause()
    with own_server.client(socket_timeout=0.2) as client:
        with pytest.raises(redis.TimeoutError):
            client.ping()
        own_server.resume()
        assert client.ping()


def test_a_killed_server_is_gone_until_restarted(own_server: RunningServer) -> None:
    """After kill nothing listens; after restart an empty server does, at the same URL."""
    url, pid = own_server.url, own_server.pid
    with own_server.client() as client:
        client.set("kept", "no")
    own_server.kill()
    with own_server.client() as client, pytest.raises(redis.ConnectionError):
        client.ping()
    own_server.restart()
    assert (own_server.url, own_server.pid != pid) == (url, True)
    with own_server.client() as client:
        assert client.get("kept") is None


def test_a_paused_server_can_be_stopped(server: RunningServer) -> None:
    """Stopping a frozen server does not wait for it in vain."""
    with start(server.kind) as own:
        own.pause()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not own.answers()


def test_a_config_with_persistence_survives_a_restart(any_server: RunningServer) -> None:
    """A server whose config persists remembers over kill and restart."""
    config = {"appendonly": "yes", "appendfsync": "always"}
    with start(any_server.kind, config=config) as own:
        with own.client() as client:
            client.set("kept", "yes")
        own.kill()
        own.restart()
        with own.client() as client:
            assert client.get("kept") == b"yes"


def test_a_password_is_used_and_not_shown(any_server: RunningServer) -> None:
    """A server with a password is reached by its URL; its repr does not tell it."""
    with start(any_server.kind, config={"requirepass": "hunter2"}) as own:
        assert own.answers()
        assert "hunter2" in own.admin_url
        assert "hunter2" not in repr(own)
        stranger = redis.Redis(unix_socket_path=str(own.socket), protocol=2)
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_tcp_gives_each_server_a_port_of_its_own(any_server: RunningServer) -> None:
    """Two servers with TCP listen on two loopback ports, in their URLs."""
    with start(any_server.kind, tcp=True) as one, start(any_server.kind, tcp=True) as two:
        assert one.port != two.port
        for own in (one, two):
            assert own.admin_url == f"redis://127.0.0.1:{own.port}/0"
            assert own.answers()


def test_a_failed_start_shows_the_log_of_the_server(any_server: RunningServer) -> None:
    """The error of a server that cannot start holds what the server had to say."""
    with pytest.raises(ServerStartError, match="no-such-setting"):
        start(any_server.kind, config={"no-such-setting": 1})


def test_stop_removes_what_the_server_wrote(any_server: RunningServer) -> None:
    """Nothing stays on disk after stop, and a second stop is no harm."""
    own = start(any_server.kind)
    assert own.socket is not None
    directory = own.socket.parent
    own.stop()
    own.stop()
    assert not directory.exists()


def test_servers_end_with_a_killed_test_process(any_server: RunningServer) -> None:
    """After kill -9 of a test process its server, frozen even, and its files are gone."""
    code = (
        "import os, sys, time\n"
        "from tests.support.servers import discover, start\n"
        f"kind = next(kind for kind in discover() if kind.name == {any_server.kind.name!r})\n"
        "own = start(kind)\n"
        "own.pause()\n"
        "print(own.pid, own.socket.parent, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid, directory = process.stdout.readline().split()
        os.kill(int(pid), 0)
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(directory).exists())
    wait_until(lambda: not _is_alive(int(pid)))


def test_a_harmed_shared_server_is_reported_and_replaced(any_server: RunningServer) -> None:
    """The test that left a shared server dead fails; the next one gets a live server."""
    fleet = Fleet()
    with pytest.raises(HarmedServerError, match="must start"), fleet.lend(any_server.kind) as lent:
        lent.kill()
    with fleet.lend(any_server.kind) as lent:
        assert lent.answers()
    fleet.stop()
    assert not lent.answers()


def test_the_prefix_is_a_valid_part_of_a_service_id(prefix: str) -> None:
    """Letters, digits and a dash, so that it can stand in keys, ids and channels."""
    assert prefix.startswith("t-")
    assert prefix.replace("-", "").isalnum()


def test_keys_with_the_prefix_are_removed_after_the_test(
    keys_left_behind: list[str], prefix: str, server: RunningServer
) -> None:
    """Whether the prefix begins a key or stands in its hash tag, nothing of it stays."""
    keys = [f"{prefix}:a", f"circuit_breaker:{{{prefix}-b}}:window"]
    with server.client() as client:
        assert [client.set(key, "x") for key in keys] == [True, True]
    keys_left_behind.append(f"*{prefix}*")


def test_fast_leaves_out_all_that_needs_a_server() -> None:
    """With --fast only tests of the unit and model folders are left, and none with a server."""
    command = [sys.executable, "-m", "pytest", "--fast", "--collect-only", "-q", "-m", ""]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    ids = [line for line in done.stdout.splitlines() if "::" in line]
    assert ids, done.stdout + done.stderr
    assert all(each.startswith(("tests/unit/", "tests/model/")) for each in ids)
    assert not [each for each in ids for kind in discover() if kind.name in each]


def test_names_narrow_the_servers_and_unknown_names_are_refused() -> None:
    """BB5_TEST_SERVERS chooses among the servers found, and says what there is."""
    old = ServerKind("redis-6.2", "6.2.14", Origin.PATH, "/bin/redis-server")
    new = ServerKind("valkey-9.1", "9.1.2", Origin.PATH, "/bin/valkey-server")
    assert narrow((old, new), "") == (old, new)
    assert narrow((old, new), " valkey-9.1 ,") == (new,)
    with pytest.raises(ValueError, match=r"names redis-5\.0.*choose from redis-6\.2, valkey-9\.1"):
        narrow((old, new), "valkey-9.1,redis-5.0")


def test_of_two_servers_with_one_name_the_first_is_kept() -> None:
    """Test ids stay unique, whatever number of places a version was found in."""
    package = ServerKind("redis-6.2", "6.2.5", Origin.PACKAGE, "/lib/redis-server")
    path = ServerKind("redis-6.2", "6.2.14", Origin.PATH, "/bin/redis-server")
    other = ServerKind("redis-7.0", "7.0.15", Origin.PATH, "/bin/redis7-server")
    assert first_of_each_name([package, path, other]) == (package, other)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody waits for stays as a zombie where init does not reap.
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")
