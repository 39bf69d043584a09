"""doctor finds what is wrong with a server, says what to do, and changes nothing."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure
from bb5_breaker._doctor import latency, version
from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._store.keys import CircuitKeys, registry_key
from bb5_breaker.cli import main
from bb5_breaker.cli.target import find_store
from tests.support.buses import fail, wait_until
from tests.support.processes import LocalServer, free_port
from tests.support.rights import PASSWORD, make_user, url_of
from tests.support.servers import RunningServer, start

pytestmark = pytest.mark.calm

_WRONG = "wrong-wrong"


class Doctor:
    """Runs the command."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.code = -1
        self.findings: list[dict[str, Any]] = []

    def __call__(self, url: str, *words: str) -> list[dict[str, Any]]:
        """Examine a server; return what is not well."""
        self._capsys.readouterr()
        # A busy machine is not to be found.
        self.code = main(["doctor", "--redis", url, "--store-timeout", "60", "--json", *words])
        written = self._capsys.readouterr()
        assert PASSWORD not in written.out + written.err
        assert _WRONG not in written.out + written.err
        self.findings = json.loads(written.out)["findings"]
        return [each for each in self.findings if each["severity"] != "ok"]

    def told(self, check: str) -> str:
        """Return what a check told."""
        return "\n".join(each["found"] for each in self.findings if each["check"] == check)


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """The command."""
    return Doctor(capsys)


def make_circuit(url: str, prefix: str, service: str = "svc") -> CircuitKeys:
    """Open a circuit; return its keys."""
    configure(url, prefix=prefix, store_timeout=5.0)
    breaker = CircuitBreaker(service, CircuitBreakerConfig(failure_threshold=1))
    fail(breaker)
    assert breaker.get_stats()["current_state"] == "open"
    return CircuitKeys.of(prefix, service)


def contents(client: redis.Redis) -> dict[bytes, Any]:
    """Return all keys with what they hold, and until when."""
    keys = sorted(client.scan_iter(count=1000))
    return {key: (client.dump(key), client.execute_command("PEXPIRETIME", key)) for key in keys}


def test_a_server_with_nothing_wrong(server: RunningServer, prefix: str, doctor: Doctor) -> None:
    """Every check is done, and each says what it found; the exit code is 0."""
    make_circuit(server.admin_url, prefix)
    assert doctor(server.admin_url, "--prefix", prefix) == []
    assert doctor.code == 0
    assert [each["check"] for each in doctor.findings] == [
        "version",
        "topology",
        "latency",
        "memory",
        "persistence",
        "notifications",
        "connections",
        "scripts",
        "clock",
        "circuits",
        "rights",
    ]
    assert all(each["found"] for each in doctor.findings)
    assert server.reported_version() in doctor.told("version")
    assert "1 of 1 circuits" in doctor.told("circuits")


def test_it_writes_nothing(own_server: RunningServer, prefix: str, doctor: Doctor) -> None:
    """No key, no life of a key, no setting and no user changes."""
    make_circuit(own_server.admin_url, prefix)
    with own_server.client() as client:
        client.set(CircuitKeys.of(prefix, "svc").sender("x"), "not a number")
        client.sadd(CircuitKeys.of(prefix, "other").circuit, "foreign")

        def look() -> Any:
            changes = client.info("persistence")["rdb_changes_since_last_save"]
            users = client.execute_command("ACL", "LIST")
            return changes, contents(client), users, client.config_get("*")

        before = look()
        assert doctor(own_server.admin_url, "--prefix", prefix, "--role", "bus")
        assert look() == before


def test_an_evicting_policy(any_server: RunningServer, doctor: Doctor) -> None:
    """Told as a warning while there is room, as a problem when keys were evicted."""
    config = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}
    with start(any_server.kind, config=config) as own:
        (found,) = doctor(own.admin_url)
        assert (found["check"], found["severity"], doctor.code) == ("memory", "warning", 0)
        assert "allkeys-lru" in found["found"]
        assert "noeviction" in found["advice"]
        with own.client() as client:
            client.config_set("maxmemory-policy", "volatile-ttl")
            assert "volatile-ttl" in doctor(own.admin_url)[0]["found"]
            client.set("filler", "x" * 1_000_000, ex=1000)
            client.config_set("maxmemory", client.info("memory")["used_memory"] - 500_000)
            wait_until(lambda: client.info("stats")["evicted_keys"])
        (found,) = doctor(own.admin_url)
        assert (found["check"], found["severity"], doctor.code) == ("memory", "problem", 5)


def test_a_server_that_is_almost_full(
    own_server: RunningServer, client: redis.Redis, doctor: Doctor
) -> None:
    """Without eviction writes will be refused."""
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.05))
    (found,) = doctor(own_server.admin_url)
    assert (found["check"], found["severity"], doctor.code) == ("memory", "problem", 5)
    assert "OOM" in found["found"]
    assert "raise maxmemory" in found["advice"]


def test_a_failed_save(any_server: RunningServer, doctor: Doctor) -> None:
    """Redis refuses all writes until a save succeeds; the repair is one line."""
    with start(any_server.kind, config={"save": "3600 1", "dbfilename": "taken"}) as own:
        assert isinstance(own, LocalServer)
        (own.directory / "taken").mkdir()
        with own.client() as client:
            client.set("x", 1)
            client.bgsave()
            wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
            found = [each for each in doctor(own.admin_url) if each["check"] == "persistence"]
            assert [each["severity"] for each in found] == ["problem"]
            assert "MISCONF" in found[0]["found"]
            repair(client, found[0])
            client.set("x", 2)
        (found_now,) = doctor(own.admin_url)
        assert (found_now["severity"], doctor.code) == ("warning", 0)
        # It would not end without having saved.
        own.kill()


def test_notifications_where_config_is_forbidden(
    server: RunningServer, prefix: str, doctor: Doctor
) -> None:
    """It can not be looked up, so it says so, and what does the same."""
    url = make_user(server, f"{prefix}-u", ["~*", "&*", "+@all", "-config"])
    try:
        (found,) = doctor(url, "--prefix", prefix)
    finally:
        remove_user(server, f"{prefix}-u")
    assert (found["check"], found["severity"], doctor.code) == ("notifications", "warning", 0)
    assert "could not be checked" in found["found"]
    assert "CONFIG" in found["found"]
    assert "clocks of processes" in found["found"]
    assert found["repair"].endswith("CONFIG SET notify-keyspace-events Kx")


def test_notifications_that_this_user_may_not_turn_on(
    own_server: RunningServer, client: redis.Redis, prefix: str, doctor: Doctor
) -> None:
    """They are off, and it says who has to do what; once it is done all is well."""
    client.config_set("notify-keyspace-events", "Eg")
    url = make_user(own_server, "u", ["~*", "&*", "+@all", "-config", "+config|get"])
    (found,) = doctor(url, "--prefix", prefix)
    assert found["check"] == "notifications"
    assert "may not set it" in found["found"]
    repair(client, found)
    assert set(client.config_get("notify-keyspace-events")["notify-keyspace-events"]) == set("EgKx")
    assert doctor(url, "--prefix", prefix) == []


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        ("~* &* +@all -hset -xadd", "+hset +xadd"),
        ("~else:* &* +@all", "~PREFIX:services '~PREFIX:{*}*'"),
        ("~* &else.* +@all", "'&PREFIX.*' '&PREFIX:views'"),
    ],
)
def test_a_user_without_a_right(
    server: RunningServer, prefix: str, doctor: Doctor, rights: str, missing: str
) -> None:
    """The command, the pattern of keys or that of channels is named, in a line that grants it."""
    name = f"{prefix}-u"
    url = make_user(server, name, rights.split())
    try:
        found = [each for each in doctor(url, "--prefix", prefix) if each["check"] == "rights"]
        assert [each["severity"] for each in found] == ["problem"]
        wanted = missing.replace("PREFIX", prefix)
        granted = found[0]["repair"].partition(f" ACL SETUSER {name} ")[2]
        assert sorted(shlex.split(granted)) == sorted(shlex.split(wanted))
        assert all(right in found[0]["found"] for right in shlex.split(wanted))
        with server.client() as client:
            repair(client, found[0])
        doctor(url, "--prefix", prefix)
        assert "may do all that a breaker does" in doctor.told("rights")
    finally:
        remove_user(server, name)


def test_a_replica(any_server: RunningServer, doctor: Doctor) -> None:
    """Its primary is named, whatever else can not be done there."""
    quick = {"repl-diskless-sync-delay": 0}
    with start(any_server.kind, config=quick, tcp=True) as primary:
        config = {"replicaof": f"127.0.0.1 {primary.port}"}
        with start(any_server.kind, config=config) as replica:
            with replica.client() as client:
                wait_until(lambda: client.info("replication")["master_link_status"] == "up")
            found = [each for each in doctor(replica.admin_url) if each["check"] == "topology"]
            assert [each["severity"] for each in found] == ["problem"]
            assert "READONLY" in found[0]["found"]
            assert f"127.0.0.1:{primary.port}" in found[0]["advice"]
            assert doctor.code == 5
            doctor(primary.admin_url)
            assert "a primary with 1 replicas" in doctor.told("topology")


def test_too_few_replicas(own_server: RunningServer, client: redis.Redis, doctor: Doctor) -> None:
    """A primary that refuses writes without them."""
    client.config_set("min-replicas-to-write", 2)
    (found,) = doctor(own_server.admin_url)
    assert (found["check"], found["severity"]) == ("topology", "problem")
    assert "NOREPLICAS" in found["found"]


def test_a_node_of_a_cluster(any_server: RunningServer, doctor: Doctor) -> None:
    """Is told from a server of its own."""
    # The port of its bus is higher by 10,000.
    port = next(port for port in iter(free_port, 0) if port < 55_000)
    with LocalServer(any_server.kind, {"cluster-enabled": "yes"}, port) as own:
        found = [each for each in doctor(own.admin_url) if each["check"] == "topology"]
    assert [each["severity"] for each in found] == ["problem"]
    assert "MOVED" in found[0]["found"]


def test_a_sentinel(any_server: RunningServer, doctor: Doctor, tmp_path: Path) -> None:
    """Somebody gave its port instead of the primary's."""
    with sentinel(any_server, tmp_path) as url:
        found = [each for each in doctor(url) if each["check"] == "topology"]
    assert [each["severity"] for each in found] == ["problem"]
    assert "Sentinel" in found[0]["found"]
    assert "primary" in found[0]["advice"]


def test_a_wrong_password(any_server: RunningServer, doctor: Doctor) -> None:
    """Wrong or none: there is nothing else to check, and it is not told."""
    with start(any_server.kind, config={"requirepass": PASSWORD}) as own:
        for url in (url_of(own, "", _WRONG), f"unix://{own.socket}", url_of(own, "x", _WRONG)):
            (found,) = doctor(url)
            assert (found["check"], found["severity"], doctor.code) == ("connection", "problem", 3)
            assert "name or password" in found["found"]
            assert "put the right ones into the URL" in found["advice"]
            assert len(doctor.findings) == 1


def test_a_server_that_is_not_there(doctor: Doctor) -> None:
    """The exit code tells it from a server with problems."""
    (found,) = doctor(f"redis://127.0.0.1:{free_port()}")
    assert (found["check"], doctor.code) == ("connection", 3)
    assert "BB5_REDIS_URL" in found["advice"]


def test_a_short_idle_time(own_server: RunningServer, client: redis.Redis, doctor: Doctor) -> None:
    """The server would cut connections between two reports."""
    client.config_set("timeout", 5)
    (found,) = doctor(own_server.admin_url)
    assert (found["check"], found["severity"]) == ("connections", "warning")
    repair(client, found)
    assert doctor(own_server.admin_url) == []


def test_connections_that_run_out(
    own_server: RunningServer, client: redis.Redis, doctor: Doctor
) -> None:
    """Before they have."""
    client.config_set("maxclients", 10)
    taken = [own_server.client() for _ in range(8)]
    for each in taken:
        each.ping()
    # Others fail for it.
    (found,) = [each for each in doctor(own_server.admin_url) if each["check"] == "connections"]
    assert found["severity"] == "problem"
    assert "of 10 connections" in found["found"]
    assert "raise maxclients" in found["advice"]
    for each in taken:
        each.close()


def test_slow_scripts(own_server: RunningServer, client: redis.Redis, doctor: Doctor) -> None:
    """Those of others: while one runs the server answers nobody."""
    source = "local n = 0 for i = 1, 3000000 do n = n + i end return n"
    for _ in range(20):
        client.eval(source, 0)
    (found,) = doctor(own_server.admin_url)
    assert (found["check"], found["severity"]) == ("scripts", "warning")


def test_foreign_keys_and_fields(own_server: RunningServer, prefix: str, doctor: Doctor) -> None:
    """Each is found with the line that repairs it; after those all is well."""
    keys = make_circuit(own_server.admin_url, prefix)
    bad, gone = (make_circuit(own_server.admin_url, prefix, name) for name in ("bad", "unlisted"))
    registry = registry_key(prefix)
    with own_server.client() as client:
        for key in (keys.window, keys.sender("x")):
            client.delete(key)
            client.sadd(key, "foreign")
        client.hset(bad.circuit, "failures", "many")
        client.persist(bad.circuit)
        client.zrem(registry, "unlisted")
        client.zadd(registry, {b"no \xffid's": 1, "": 2})
        found = doctor(own_server.admin_url, "--prefix", prefix)
        assert doctor.code == 5
        told = sorted((each["severity"], each["found"]) for each in found)
        expected = [
            ("problem", f"{keys.window.decode()} holds a set, not a zset"),
            ("problem", f"{keys.sender('x').decode()} holds a set, not a string"),
            ("problem", "the circuit bad can not be used"),
            ("warning", f"{bad.circuit.decode()} has no time to live"),
            ("warning", "the circuit unlisted is not in the list"),
            ("warning", "the list of circuits has , which"),
            ("warning", "the list of circuits has no \\xffid's, which"),
        ]
        for severity, words in expected:
            assert [each for each in told if each[0] == severity and words in each[1]], words
        assert len(found) == len(expected)
        assert any('"failures"' in words and '"many"' in words for _, words in told)
        for each in found:
            assert each["advice"]
            repair(client, each)
        assert doctor(own_server.admin_url, "--prefix", prefix) == []
        assert client.exists(gone.circuit)
        assert client.zscore(registry, "unlisted") > 1_700_000_000_000


def test_a_list_that_is_none(own_server: RunningServer, prefix: str, doctor: Doctor) -> None:
    """Circuits are looked at all the same."""
    make_circuit(own_server.admin_url, prefix)
    with own_server.client() as client:
        client.set(registry_key(prefix), "foreign", ex=1000)
        found = doctor(own_server.admin_url, "--prefix", prefix)
        assert f"{prefix}:services holds a string" in found[0]["found"]
        assert "1 of 1 circuits" in doctor.told("circuits")
        for each in found:
            repair(client, each)
        (unlisted,) = doctor(own_server.admin_url, "--prefix", prefix)
        assert "the circuit svc is not in the list" in unlisted["found"]
        repair(client, unlisted)
        assert client.pttl(registry_key(prefix)) > 0
    assert doctor(own_server.admin_url, "--prefix", prefix) == []


def test_damage_beyond_counting_is_not_all_told(
    own_server: RunningServer, prefix: str, doctor: Doctor
) -> None:
    """A bounded number, and how many more there are."""
    with own_server.client() as client:
        for number in range(50):
            client.set(CircuitKeys.of(prefix, f"s{number}").circuit, "foreign", ex=1000)
    found = doctor(own_server.admin_url, "--prefix", prefix)
    assert len(found) == 21
    assert "and 30 more" in found[-1]["found"]


def test_a_user_who_may_hardly_look(server: RunningServer, prefix: str, doctor: Doctor) -> None:
    """Each check that can not be done says so, and names the right; none fails."""
    url = make_user(server, f"{prefix}-u", ["+ping"])
    try:
        found = doctor(url, "--prefix", prefix)
    finally:
        remove_user(server, f"{prefix}-u")
    assert doctor.code == 0
    named = {each["check"]: each["found"] for each in found}
    for check, right in [
        ("version", "INFO"),
        ("topology", "INFO"),
        ("memory", "INFO"),
        ("persistence", "INFO"),
        ("connections", "INFO"),
        ("scripts", "INFO"),
        ("notifications", "CONFIG"),
        ("clock", "TIME"),
        ("circuits", "TYPE"),
        ("rights", "MULTI"),
    ]:
        assert "could not be checked, because" in named[check]
        assert right in named[check], check


def test_a_server_that_is_slow(any_server: RunningServer, prefix: str) -> None:
    """Measured against the time-out of the fleet."""
    patient = Patient(find_store(any_server.admin_url, prefix), 1e-6)
    (found,) = latency.check(patient)
    assert found.severity is Severity.PROBLEM
    assert "store_timeout is 0.001 ms" in found.found


@pytest.mark.parametrize(
    ("told", "severity"),
    [
        ({"redis_version": "6.0.16"}, Severity.PROBLEM),
        ({"redis_version": "6.2.0"}, Severity.OK),
        ({"redis_version": "cloud"}, Severity.WARNING),
        ({}, Severity.WARNING),
    ],
)
def test_versions(
    any_server: RunningServer, prefix: str, told: dict[str, str], severity: Severity
) -> None:
    """Too old, good enough, and unknown."""
    patient = Patient(find_store(any_server.admin_url, prefix), 1.0)
    # What a server of that kind would tell.
    patient.__dict__["info"] = told
    assert [each.severity for each in version.check(patient)] == [severity]


def test_text_for_people(
    own_server: RunningServer, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worst first, what to do below each, and the count at the end."""
    keys = make_circuit(own_server.admin_url, prefix)
    with own_server.client() as client:
        client.persist(keys.circuit)
        client.set(CircuitKeys.of(prefix, "x").circuit, "foreign")
    capsys.readouterr()
    place = ["--redis", own_server.admin_url, "--prefix", prefix]
    assert main(["doctor", *place, "--store-timeout", "60"]) == 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("problem  circuits: ")
    assert lines[1].startswith("         -> find out what did")
    assert lines[2].strip() == f"redis-cli -s {own_server.socket} DEL '{prefix}:{{x}}'"
    assert lines[3].startswith("warning  circuits: ")
    assert lines[-1].startswith("1 problem, 1 warning, ")


def repair(client: redis.Redis, found: dict[str, Any] | Finding) -> None:
    """Do what a line for redis-cli says."""
    assert isinstance(found, dict)
    # A shell that prints the words after those that name the server.
    skip = 'shift 2; [ "$1" = --askpass ] && shift'
    script = f"redis-cli() {{ {skip}; printf '%s\\0' \"$@\"; echo; }}; {found['repair']}"
    lines = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    for line in lines.splitlines():
        client.execute_command(*line.split(b"\0")[:-1])


def remove_user(server: RunningServer, name: str) -> None:
    """Take a user away from a shared server."""
    with server.client() as client:
        client.execute_command("ACL", "DELUSER", name)


@contextmanager
def sentinel(server: RunningServer, directory: Path) -> Iterator[str]:
    """Run a Sentinel that watches nothing; gives its URL."""
    port = free_port()
    settings = directory / "sentinel.conf"
    settings.write_text(f"port {port}\nbind 127.0.0.1\ndir {directory}\n")
    words = [server.kind.where, str(settings), "--sentinel"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"redis://127.0.0.1:{port}"
            wait_until(lambda: answers(url))
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Return True when a server is there."""
    try:
        with redis.Redis.from_url(url, protocol=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
