"""What is wrong is refused with an error that says so, or goes on; a call is never failed by it."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from bb5_breaker import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerManager,
    CircuitBreakerOpenError,
    StoreDataError,
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    StoreVersionError,
    configure,
    for_agent,
    protect,
)
from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    Extend,
    Forget,
    Outcome,
    Promote,
    Record,
    Reset,
    Run,
    Settle,
    Snapshot,
)
from bb5_breaker._core.replies import CircuitView, Verdict
from tests.support.servers import RunningServer, start
from tests.support.workers_circuit import (
    PATIENT,
    Bench,
    Clock,
    Keys,
    ServiceFailed,
    fail,
    fail_once,
    make_breaker,
)

pytestmark = pytest.mark.calm

_SECRET = "s3cr3t-pw"


@pytest.mark.parametrize(
    "service_id",
    [
        "",
        "}",
        "}x",
        "{x",
        "a b",
        " a",
        "a\n",
        "a\tb",
        "a\u00a0b",
        "a\u2028b",
        "*",
        "a*",
        "a?",
        "[a]",
        "a\\b",
        "a\x00b",
        "a\x7fb",
        "a\x9fb",
        "\ufeffa",
        "\ud800",
        "a" * 201,
        None,
        7,
        b"bytes",
        ["list"],
    ],
    ids=ascii,
)
def test_malformed_service_ids_are_refused_everywhere(service_id: Any) -> None:
    """Every way to name a service refuses what would break keys or channels."""
    makers: list[Callable[[], Any]] = [
        lambda: CircuitBreaker(service_id),
        lambda: CircuitBreakerManager().get_breaker(service_id),
        lambda: protect(service_id),
    ]
    for make in makers:
        with pytest.raises(ValueError, match="service_id"):
            make()
    if service_id != "":
        with pytest.raises(ValueError, match=r"service_id|agent_id"):
            for_agent(service_id)


@pytest.mark.parametrize("service_id", ["a", "a" * 200, "agent.x", "a:b/c@d#e", "dienst-ü", "服务"])
def test_good_service_ids_work(server: RunningServer, prefix: str, service_id: str) -> None:
    """Text of any language is a name; it comes back unharmed from the registry."""
    make_breaker(server.url, prefix, service_id).call(int)
    assert list(CircuitBreakerManager().get_all_stats()) == [service_id]


_NOT_SECONDS: list[Any] = [-0.001, math.nan, math.inf, -math.inf, 604_801, "1", True, [1], 10**400]
_NOT_CLASSES: list[Any] = [
    (),
    [],
    None,
    "ValueError",
    ValueError("instance"),
    (ValueError, 5),
    (BaseException,),
    (KeyboardInterrupt,),
    (ValueError, SystemExit),
    int,
]
_NOT_WHOLE: list[Any] = [0, -1, 1.5, 2.0, True, None, "5", math.nan, 1_000_001, 10**400]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("failure_threshold", value) for value in _NOT_WHOLE),
        *(("success_threshold", value) for value in _NOT_WHOLE),
        *(("half_open_max_calls", value) for value in _NOT_WHOLE),
        *(("sliding_window_size", value) for value in [*_NOT_WHOLE, 100_001]),
        *(("timeout_seconds", value) for value in [*_NOT_SECONDS, None]),
        *(("reset_timeout", value) for value in [*_NOT_SECONDS, None]),
        *(("call_timeout", value) for value in _NOT_SECONDS),
        *(("probe_lease", value) for value in [*_NOT_SECONDS, None, 0, 0.099, 3600.1]),
        *(("exception_types", value) for value in _NOT_CLASSES),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_bad_configuration_names_the_field(field: str, value: Any) -> None:
    """Wrong types, bounds, NaN, infinities and bools for numbers: a ValueError with the name."""
    with pytest.raises(ValueError, match=field):
        CircuitBreakerConfig(**{field: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("prefix", ""),
        ("prefix", "a{b"),
        ("prefix", "a b"),
        ("prefix", "a" * 65),
        ("prefix", None),
        ("store_timeout", 0),
        ("store_timeout", math.nan),
        ("store_retry_interval", -1),
        ("idle_ttl", 0.5),
        ("history_limit", 0),
        ("history_limit", True),
        ("event_format", "xml"),
        ("url", 5),
    ],
)
def test_bad_settings_name_the_argument_and_change_nothing(
    any_server: RunningServer, prefix: str, argument: str, value: Any
) -> None:
    """A refused configure() leaves the settings in force."""
    breaker = make_breaker(any_server.url, prefix)
    with pytest.raises(ValueError, match=argument):
        configure(**{argument: value})
    breaker.call(int)
    breaker.flush()
    assert Keys(any_server.client(), prefix).field("total_successes") == "1"


@pytest.mark.parametrize("thing", [None, 42, "name", b"x", [], object()])
def test_what_is_not_callable_is_refused_before_anything_happens(
    any_server: RunningServer, prefix: str, thing: Any
) -> None:
    """A result passed in place of a function is a TypeError, and counts as nothing."""
    breaker = make_breaker(any_server.url, prefix)
    for way in (breaker.call, breaker.call_result, breaker.decorate):
        with pytest.raises(TypeError, match="expected a callable"):
            way(thing)
    assert Keys(any_server.client(), prefix).own() == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://user:s3cr3t-pw@host",
        "redis//user:s3cr3t-pw@host",
        "redis://user:s3cr3t-pw@host:port",
        "redis://user:s3cr3t-pw@host:99999",
        "redis://user:s3cr3t-pw@[host",
        "redis://user:s3cr3t-pw@host?db=abc",
        "redis://user:s3cr3t-pw@host?socket_keepalive=1&nonsense=1",
        "redis://user:s3cr3t-pw@host?password=s3cr3t-pw&redis_connect_func=f",
        "redis://user:s3cr3t-pw@host?ssl_ca_certs=/ca.pem",
        "rediss://user:s3cr3t-pw@host?ssl_password=s3cr3t-pw&ssl_nonsense=1",
        "rediss://user:s3cr3t-pw@host?ssl_cert_reqs=perhaps",
        "rediss://user:s3cr3t-pw@host?ssl_min_version=12",
        "redis+sentinel://user:s3cr3t-pw@host",
        "redis+sentinel://user:s3cr3t-pw@host/main?sentinel_nonsense=1",
        "redis+cluster://user:s3cr3t-pw@host?nonsense=1",
    ],
)
def test_malformed_urls_are_refused_at_once_without_their_secrets(url: str) -> None:
    """configure() and a breaker's own URL raise a ValueError that does not quote a password."""
    makers: list[Callable[[], Any]] = [
        lambda: configure(url),
        lambda: CircuitBreaker("svc", redis=url),
        lambda: CircuitBreakerManager(redis=url).get_breaker("svc"),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=r"URL|option|supported|url") as caught:
            make()
        assert _SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "client", [redis.asyncio.Redis(), redis.RedisCluster, object(), 5, b"redis://h"]
)
def test_unsupported_clients_are_refused(client: Any) -> None:
    """Only a synchronous client of one server can be used, and the error says so."""
    with pytest.raises(TypeError, match="redis must be"):
        CircuitBreaker("svc", redis=client)


def _reads(breaker: CircuitBreaker) -> list[Callable[[], Any]]:
    manager = CircuitBreakerManager()
    return [
        breaker.get_stats,
        lambda: breaker.stats,
        breaker.reset,
        breaker.forget,
        manager.get_all_stats,
        manager.get_open_circuits,
        manager.reset_all,
        manager.close_all_circuits,
    ]


def _check_stand_in(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture, error: type[StoreError], text: str
) -> None:
    """Calls go on by the process's own rules with one log line; reads and orders raise."""
    with caplog.at_level(logging.INFO, logger="bb5_breaker"):
        assert breaker.call(lambda: "result") == "result"
        fail_once(breaker)
        for _ in range(20):
            breaker.call_result(int)
    assert len(caplog.messages) == 1, caplog.messages
    assert text in caplog.messages[0]
    for read in _reads(breaker):
        with pytest.raises(error) as caught:
            read()
        assert text in str(caught.value)
        assert _SECRET not in str(caught.value)
    assert _SECRET not in caplog.text


def test_an_unreachable_server_is_named_and_its_password_is_not(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Message, log and repr tell the address without user and password."""
    url = f"redis://someone:{_SECRET}@127.0.0.1:1/0"
    settings = configure(url, prefix=prefix, store_retry_interval=60.0)
    breaker = CircuitBreaker("svc", CircuitBreakerConfig(failure_threshold=50))
    _check_stand_in(breaker, caplog, StoreUnavailableError, "redis://127.0.0.1:1")
    assert _SECRET not in repr(breaker)
    assert _SECRET not in repr(settings), "the settings show the password"


def test_a_wrong_password_is_told_as_such(
    any_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused log-in names what to correct."""
    with start(any_server.kind, config={"requirepass": "right"}) as server:
        configure(
            server.admin_url.replace(":right@", f":{_SECRET}@"),
            prefix=prefix,
            store_timeout=5.0,
            store_retry_interval=60.0,
        )
        breaker = CircuitBreaker("svc", CircuitBreakerConfig(failure_threshold=50))
        _check_stand_in(breaker, caplog, StorePermissionError, "refused the user's name or passw")


class _OldServer:
    """Speaks enough of Redis 6.0 to be asked for its version; notes what it was sent."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.commands: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        info = b"# Server\r\nredis_version:6.0.16\r\n"
        with line, line.makefile("rb") as words:
            while header := words.readline():
                arguments = []
                for _ in range(int(header[1:])):
                    words.readline()
                    arguments.append(words.readline().strip().decode())
                self.commands.append(arguments[0].upper())
                known = self.commands[-1] == "INFO"
                line.sendall(b"$%d\r\n%b\r\n" % (len(info), info) if known else b"+OK\r\n")


def test_a_server_that_is_too_old_is_refused_before_anything_is_written(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis 6.0 is named with the version that is needed; no script reaches it."""
    server = _OldServer()
    configure(f"redis://127.0.0.1:{server.port}", prefix=prefix, store_retry_interval=60.0)
    breaker = CircuitBreaker("svc", CircuitBreakerConfig(failure_threshold=50))
    _check_stand_in(breaker, caplog, StoreVersionError, "is Redis 6.0; bb5-breaker needs Redis 6.2")
    server.close()
    assert set(server.commands) <= {"INFO", "CLIENT", "AUTH", "HELLO", "SELECT"}


def _everything(client: redis.Redis, prefix: str) -> dict[Any, Any]:
    """Return all keys of a prefix with content and expiry, but what senders remember."""
    names: list[bytes] = sorted(client.scan_iter(match=f"{prefix}*", count=1000))
    return {
        name: (client.dump(name), client.pttl(name) == -1)
        for name in names
        if b":sender:" not in name
    }


@pytest.fixture
def bench(server: RunningServer, prefix: str) -> Bench:
    """A circuit that trips at the second failure and is open for a minute."""
    return Bench(
        server.client(),
        server.url,
        prefix,
        Clock(),
        failure_threshold=2,
        timeout_seconds=60.0,
        success_threshold=1,
        sliding_window_size=2,
        half_open_max_calls=1,
    )


def _is_hash(bench: Bench) -> bool:
    return bool(bench.client.type(bench.keys.circuit) == b"hash")


_KINDS: dict[str, Callable[[redis.Redis, str], Any]] = {
    "string": lambda client, name: client.set(name, "foreign"),
    "list": lambda client, name: client.rpush(name, "foreign"),
    "hash": lambda client, name: client.hset(name, "foreign", "1"),
    "set": lambda client, name: client.sadd(name, "foreign"),
}


@pytest.mark.parametrize("state", ["none", "closed", "open", "half_open"])
@pytest.mark.parametrize(
    ("key", "kind"),
    [("circuit", "string"), ("window", "string"), ("probes", "list"), ("events", "set")],
)
def test_a_key_of_a_wrong_type_is_named_and_a_refused_script_wrote_nothing(
    bench: Bench, prefix: str, key: str, kind: str, state: str
) -> None:
    """Whatever the circuit's state, each script that meets a foreign key leaves all as it was."""
    if state != "none":
        bench.record("s")
    if state in ("open", "half_open"):
        bench.record("ff")
        assert isinstance(bench.clock, Clock)
        bench.clock.advance(60_000)
    if state == "half_open":
        bench.admit("t1")
    name = getattr(bench.keys, key)
    bench.client.delete(name)
    _KINDS[kind](bench.client, name)
    refused = 0
    for _ in range(2):
        before = _everything(bench.client, prefix)
        errors = _run_each(bench, prefix, before)
        refused += len(errors)
        for error in errors:
            assert isinstance(error, StoreDataError), error
            assert f"{name} holds a {kind}" in str(error)
    assert refused or state != "closed" or key == "probes"


def _run_each(bench: Bench, prefix: str, before: dict[Any, Any]) -> list[StoreError]:
    """Run commands one by one, each on the same keys; what is refused must change nothing."""
    errors = []
    generation = int(bench.keys.field("generation") or 0) if _is_hash(bench) else 0
    epoch = bench.keys.field("epoch") if _is_hash(bench) else ""
    circuit = bench.circuit
    commands: list[Command] = [
        Record(circuit, generation, epoch, (Run(Outcome.SUCCESS, 1),), ""),
        Record(circuit, generation, epoch, (Run(Outcome.FAILURE, 1),), "E"),
        Record(circuit, generation, epoch, (Run(Outcome.FAILURE, 3),), "E"),
        Admit(circuit, "t9"),
        Extend(circuit, epoch, "t1"),
        Settle(circuit, generation, epoch, "t1", Outcome.NEUTRAL, ""),
        Settle(circuit, generation, epoch, "t1", Outcome.FAILURE, "E"),
        Settle(circuit, generation, epoch, "t1", Outcome.SUCCESS, ""),
        Promote(circuit),
        Snapshot(circuit),
        Reset(circuit),
        Clear(circuit),
    ]
    for command in commands:
        try:
            bench.store.run(command)
        except StoreError as error:
            errors.append(error)
            assert _everything(bench.client, prefix) == before, type(command).__name__
        _restore(bench.client, prefix, before)
    return errors


def _restore(client: redis.Redis, prefix: str, before: dict[Any, Any]) -> None:
    names = list(client.scan_iter(match=f"{prefix}*", count=1000))
    if names:
        client.delete(*names)
    for name, (content, endless) in before.items():
        client.restore(name, 0 if endless else 3_600_000, content, replace=True)


def test_a_foreign_cooldown_key_is_no_obstacle(bench: Bench) -> None:
    """The cooldown is written over and never read: any type of it is healed by the next trip."""
    bench.client.rpush(bench.keys.cooldown, "foreign")
    assert bench.record("ff").state.value == "open"
    assert bench.client.type(bench.keys.cooldown) in (b"string", b"none")


@pytest.mark.parametrize("end", ["inf", "1e300", "1903000000000"])
def test_a_foreign_place_that_never_ends_is_not_counted(bench: Bench, end: str) -> None:
    """Half-open can not wedge: no lease of ours ends so late."""
    bench.record("ff")
    assert isinstance(bench.clock, Clock)
    bench.clock.advance(60_000)
    bench.client.zadd(bench.keys.probes, {"foreign": end})
    assert bench.admit("t1").verdict is Verdict.PROBE
    assert bench.admit("t2").verdict is Verdict.REJECT


@pytest.mark.parametrize("number", ["nan", "inf", "9" * 20, "foreign"])
def test_a_foreign_number_of_a_sender_makes_no_report_a_repeat(bench: Bench, number: str) -> None:
    """It is written over; otherwise nothing that this sender reports would count again."""
    bench.record("s")
    [key] = bench.client.scan_iter(match=f"{bench.keys.circuit}:sender:*", count=1000)
    for outcome in "sf":
        bench.client.set(key, number)
        assert bench.record(outcome).verdict is Verdict.RECORDED
    bench.client.set(key, number)
    assert bench.reset().verdict is Verdict.RESET


def test_forget_is_the_way_out_of_foreign_keys(any_server: RunningServer, prefix: str) -> None:
    """forget() deletes them all, and the circuit works again."""
    breaker = make_breaker(any_server.url, prefix)
    client = any_server.client()
    keys = Keys(client, prefix)
    for name in (keys.circuit, keys.window, keys.probes, keys.cooldown, keys.events):
        client.set(name, "foreign")
    breaker.call(int)
    with pytest.raises(StoreDataError):
        breaker.get_stats()
    breaker.forget()
    breaker.call(int)
    assert breaker.get_stats()["total_calls"] == 1


def test_one_damaged_circuit_leaves_all_others_alone(
    any_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its calls go on privately, logged once; other circuits stay shared; the manager tells."""
    breaker = make_breaker(any_server.url, prefix, "damaged")
    other = make_breaker(any_server.url, prefix, "other")
    client = any_server.client()
    client.set(Keys(client, prefix, "damaged").circuit, "foreign")
    with caplog.at_level(logging.INFO, logger="bb5_breaker"):
        for _ in range(5):
            breaker.call(int)
            other.call(int)
    assert len(caplog.messages) == 1
    assert "guards 'damaged' alone" in caplog.messages[0]
    assert other.stats.total_calls == 5
    with pytest.raises(StoreDataError, match="holds a string, not a hash"):
        breaker.reset()


def test_a_foreign_registry_is_named_by_reads_and_told_once_by_calls(
    any_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls count all the same; the error names the key, and its loss is not kept silent."""
    client = any_server.client()
    keys = Keys(client, prefix)
    client.set(keys.registry, "foreign")
    breaker = make_breaker(any_server.url, prefix)
    with caplog.at_level(logging.WARNING, logger="bb5_breaker"):
        for _ in range(5):
            breaker.call(int)
    assert breaker.stats.total_calls == 5
    with pytest.raises(StoreDataError) as caught:
        CircuitBreakerManager().get_all_stats()
    assert keys.registry in str(caught.value)
    assert len(caplog.messages) == 1
    assert keys.registry in caplog.messages[0]


_FIELDS = [
    "state",
    "generation",
    "failures",
    "successes",
    "total_successes",
    "total_failures",
    "window_from",
    "window_failures",
    "window_size",
    "rejections",
    "transitions",
    "renew_ms",
    "opened_ms",
    "open_until_ms",
    "half_open_ms",
    "changed_ms",
    "last_failure_ms",
    "last_success_ms",
]
_DAMAGE = ["abc", "1.5", "nan", "inf", "-1", "1e400", "0x10", " 7", "99999999999999999999"]


@pytest.mark.parametrize("field", _FIELDS)
@pytest.mark.parametrize("state", ["closed", "open"])
def test_a_corrupted_field_fails_no_call_and_reads_name_it(
    server: RunningServer, prefix: str, field: str, state: str
) -> None:
    """A field that holds no whole number: calls go on, reads work or raise a StoreDataError."""
    client = server.client()
    faults = []
    for number, value in enumerate(_DAMAGE):
        service = f"svc{number}"
        breaker = make_breaker(server.url, prefix, service, failure_threshold=2)
        fail_once(breaker)
        breaker.call(int)
        if state == "open":
            fail_once(breaker)
            fail_once(breaker)
        key = Keys(client, prefix, service).circuit
        client.hset(key, field, value)
        faults += [f"{value!r}: {fault}" for fault in _meet_damage(breaker, field, key)]
    assert faults == []


def _meet_damage(breaker: CircuitBreaker, field: str, key: str) -> Iterator[str]:
    for _ in range(2):
        for work in (int, fail):
            try:
                breaker.call(work)
            except (CircuitBreakerOpenError, ServiceFailed):
                continue
            except Exception as error:
                yield f"a call raised {error!r}"
    if breaker._link().failing is not None:
        yield f"the whole store was given up: {breaker._link().failing}"
    for read in (breaker.get_stats, lambda: breaker.state, CircuitBreakerManager().get_all_stats):
        try:
            read()
        except StoreDataError as error:
            if field not in str(error) or key not in str(error):
                yield f"an error names neither field nor key: {error}"
        except Exception as error:
            yield f"a read raised {error!r}"


# What the scripts run, and may therefore be missing; INFO is not needed.
_COMMANDS = [
    "hmget",
    "hset",
    "hdel",
    "hgetall",
    "zadd",
    "zrem",
    "zremrangebyscore",
    "zrangebyscore",
    "zrange",
    "zcard",
    "zscore",
    "zcount",
    "get",
    "set",
    "del",
    "pexpire",
    "xadd",
    "xlen",
    "publish",
    "time",
]


def _run_life(bench: Bench) -> list[StoreError]:
    """Take a circuit through all that scripts do, as far as it gets."""
    errors: list[StoreError] = []

    def run(command: Command) -> CircuitView | None:
        try:
            reply = bench.store.run(command)
        except StoreError as error:
            errors.append(error)
            return None
        return reply if isinstance(reply, CircuitView) else None

    circuit = bench.circuit
    view = run(Record(circuit, 0, "", (Run(Outcome.SUCCESS, 2), Run(Outcome.FAILURE, 1)), "E"))
    run(Record(circuit, 0, "", (Run(Outcome.SUCCESS, 3),), ""))
    run(Record(circuit, 0, "", (Run(Outcome.FAILURE, 2),), "E"))
    view = run(Admit(circuit, "t1"))
    run(Admit(circuit, "t2"))
    if view is not None:
        run(Extend(circuit, view.epoch, "t1"))
        run(Settle(circuit, view.generation, view.epoch, "t1", Outcome.SUCCESS, ""))
    run(Snapshot(circuit))
    run(Clear(circuit))
    run(Reset(circuit))
    run(Forget(circuit))
    return errors


def _as_user(server: RunningServer, prefix: str, *rules: str) -> tuple[Bench, str]:
    """Return a circuit whose scripts run as a user with given rights, and the user's URL."""
    user = f"user-{prefix}"
    server.client().execute_command(
        "ACL", "SETUSER", user, "reset", "on", f">{_SECRET}", "~*", "&*", "+@all", *rules
    )
    url = server.admin_url.replace("://", f"://{user}:{_SECRET}@", 1)
    bench = Bench(
        server.client(),
        url,
        prefix,
        failure_threshold=2,
        timeout_seconds=0.0,
        success_threshold=1,
        sliding_window_size=2,
    )
    return bench, url


@pytest.fixture
def _user_removed(server: RunningServer, prefix: str) -> Iterator[None]:
    yield
    server.client().execute_command("ACL", "DELUSER", f"user-{prefix}")


@pytest.mark.usefixtures("_user_removed")
@pytest.mark.parametrize("command", _COMMANDS)
def test_a_user_without_a_right_is_told_which(
    server: RunningServer, prefix: str, command: str
) -> None:
    """A command that is denied inside a script is named by a StorePermissionError."""
    bench, _ = _as_user(server, prefix, f"-{command}")
    errors = _run_life(bench)
    if not errors:
        # Not every script needs every command on every path; none may pass unnoticed.
        assert command.upper() not in _called_by_scripts(bench), f"{command} was never missed"
    for error in errors:
        assert isinstance(error, StorePermissionError), error
        assert f"no right to run {command.upper()};" in str(error)
        assert _SECRET not in str(error)


def _called_by_scripts(bench: Bench) -> set[str]:
    full_prefix = f"{bench.store.rules.prefix}-full"
    bench.client.config_resetstat()
    full = Bench(
        bench.client,
        _url_of(bench.client),
        full_prefix,
        failure_threshold=2,
        timeout_seconds=0.0,
        success_threshold=1,
        sliding_window_size=2,
    )
    _run_life(full)
    stats: dict[str, Any] = bench.client.info("commandstats")
    return {name.removeprefix("cmdstat_").upper() for name in stats}


def _url_of(client: redis.Redis) -> str:
    options = client.connection_pool.connection_kwargs
    return f"unix://{options['path']}" if "path" in options else f"redis://{options['host']}"


@pytest.mark.usefixtures("_user_removed")
def test_a_user_without_evalsha_is_told_so(server: RunningServer, prefix: str) -> None:
    """The right to run scripts at all is named as well."""
    bench, _ = _as_user(server, prefix, "-evalsha")
    errors = _run_life(bench)
    assert errors
    assert all("no right to run EVALSHA" in str(error) for error in errors)


@pytest.mark.usefixtures("_user_removed")
def test_a_user_without_info_works(server: RunningServer, prefix: str) -> None:
    """Who may not ask for the version gets no error for that."""
    bench, _ = _as_user(server, prefix, "-info")
    assert _run_life(bench) == []


@pytest.mark.usefixtures("_user_removed")
def test_a_user_who_may_only_run_loaded_scripts_works(server: RunningServer, prefix: str) -> None:
    """Least privilege: EVALSHA without EVAL and SCRIPT LOAD is enough once they are loaded."""
    _run_life(Bench(server.client(), server.url, prefix))
    bench, _ = _as_user(server, prefix, "-eval", "-script")
    assert _run_life(bench) == []


@pytest.mark.usefixtures("_user_removed")
def test_a_user_who_may_not_publish_halves_no_transition(
    server: RunningServer, prefix: str
) -> None:
    """Without the channel no transition is made: no event in the stream, no count, no key."""
    bench, _ = _as_user(server, prefix)
    server.client().execute_command("ACL", "SETUSER", f"user-{prefix}", "resetchannels")
    bench.record("s")
    before = _everything(bench.client, prefix)
    with pytest.raises(StorePermissionError, match="PUBLISH"):
        bench.record("ff")
    assert _everything(bench.client, prefix) == before


@pytest.mark.usefixtures("_user_removed")
def test_a_user_who_may_not_touch_the_keys_is_told_so(server: RunningServer, prefix: str) -> None:
    """The message is about keys, not about a command."""
    bench, _ = _as_user(server, prefix)
    server.client().execute_command("ACL", "SETUSER", f"user-{prefix}", "resetkeys", "~else*")
    with pytest.raises(StorePermissionError, match="key"):
        bench.record("s")


@pytest.mark.usefixtures("_user_removed")
def test_calls_of_a_user_without_rights_go_on(
    server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are guarded by the process alone, and the log names the command once."""
    _, url = _as_user(server, prefix, "-hset", "-hmget")
    configure(url, prefix=prefix, store_retry_interval=60.0, **PATIENT)
    breaker = CircuitBreaker("svc", CircuitBreakerConfig(failure_threshold=3, call_timeout=None))
    with caplog.at_level(logging.INFO, logger="bb5_breaker"):
        for _ in range(3):
            fail_once(breaker)
        with pytest.raises(CircuitBreakerOpenError):
            breaker.call(int)
    assert len(caplog.messages) == 1
    assert "HMGET" in caplog.messages[0] or "HSET" in caplog.messages[0]
    with pytest.raises(StorePermissionError):
        breaker.get_stats()
