"""Everything over TLS, and errors that say what to change when it does not come about."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from bb5_breaker import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerManager,
    RedisConnectionError,
    StoreUnavailableError,
    configure,
    encode_event,
)
from tests.server.cached import QUIET, await_trust
from tests.support.buses import Buses, Heard, fail, make_event, wait_until
from tests.support.kinds import ServerKind
from tests.support.processes import start_on_free_port
from tests.support.servers import start
from tests.support.tls import (
    HOSTS,
    Authority,
    TlsSentinel,
    TlsServer,
    find_tls_kind,
    start_tls,
    tls_config,
)
from tests.support.workers import Assignment, Crew

pytestmark = pytest.mark.calm

_RULES = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=3600.0, call_timeout=None)


@pytest.fixture(scope="module")
def kind(fleet: object) -> ServerKind:
    """A kind of server that was built with TLS."""
    found = find_tls_kind()
    if found is None:
        pytest.skip("no server here was built with TLS: apt-get install redis-server on Debian")
    return found


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    """Who signed the certificates."""
    with Authority() as made:
        yield made


@pytest.fixture(scope="module")
def tls(kind: ServerKind, authority: Authority) -> Iterator[TlsServer]:
    """A server that speaks TLS, shared by the tests."""
    with start_tls(kind, authority, authority.issue(*HOSTS)) as server:
        yield server


def _reset(url: str, prefix: str) -> None:
    configure(url, prefix=prefix, store_timeout=0.5)
    CircuitBreaker("svc", _RULES).reset()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("consistency", ["cached", "strict"])
def test_a_circuit_is_shared_over_tls(
    tls: TlsServer, authority: Authority, prefix: str, host: str, consistency: str
) -> None:
    """Calls, figures, the list and the history go over TLS, to a name and to an address."""
    url = tls.tls_url(host, ssl_ca_certs=authority.path)
    configure(url, prefix=prefix, consistency=consistency, store_timeout=5.0)
    breaker = CircuitBreaker("svc", _RULES)
    assert [breaker.call(lambda: 5) for _ in range(20)] == [5] * 20
    fail(breaker)
    assert breaker.call_result(int).was_rejected
    manager = CircuitBreakerManager()
    assert manager.get_all_stats()["svc"]["total_calls"] == 21
    assert [event.data["state"] for event in manager.history()] == ["open"]


def test_views_and_the_bus_hear_over_tls(tls: TlsServer, authority: Authority, prefix: str) -> None:
    """Pushes arrive, also many at once: what TLS has read ahead is not left lying."""
    url = tls.tls_url(ssl_ca_certs=authority.path)
    configure(url, prefix=prefix, **{**QUIET, "store_timeout": 5.0})
    buses, heard = Buses(url, prefix), Heard()
    try:
        bus = buses.connect(queue_size=10_000)
        bus.subscribe("news", heard)
        breaker = CircuitBreaker("svc", _RULES)
        with tls.client() as client:
            await_trust(breaker, client)
            pipeline = client.pipeline(transaction=False)
            for _ in range(1000):
                pipeline.publish("news", encode_event(make_event(text="x" * 3000)))
            pipeline.execute()
        wait_until(lambda: len(heard.events) == 1000, "all are heard")
        fail(CircuitBreaker("svc", _RULES, redis=tls.client()))
        wait_until(lambda: breaker.call_result(int).was_rejected, "the view is told")
    finally:
        buses.close()


def test_processes_share_a_circuit_over_tls(
    tls: TlsServer, authority: Authority, prefix: str
) -> None:
    """Children of a fork make connections of their own; each call counts once."""
    url = tls.tls_url(ssl_ca_certs=authority.path)
    with Crew(3, Assignment(url, prefix)) as crew:
        crew.ask_all("calls", outcomes="s" * 20)
        crew.ask_all("flush")
        assert crew.workers[0].ask("stats")["total_calls"] == 60


def test_the_certificate_of_a_client_is_shown(
    kind: ServerKind, authority: Authority, prefix: str
) -> None:
    """A server that wants one is served; without one the error names the options."""
    own = authority.issue("client.example")
    with start_tls(kind, authority, authority.issue(*HOSTS), tls_auth_clients="yes") as server:
        url = server.tls_url(ssl_ca_certs=authority.path)
        with pytest.raises(StoreUnavailableError, match="ssl_certfile and ssl_keyfile"):
            _reset(url, prefix)
        _reset(f"{url}&ssl_certfile={own.cert}&ssl_keyfile={own.key}", prefix)


def test_a_client_of_redis_py_with_tls_is_followed(
    tls: TlsServer, authority: Authority, prefix: str
) -> None:
    """Its certificates are used for our connections, and errors show the right scheme."""
    given = redis.Redis.from_url(tls.tls_url(ssl_ca_certs=authority.path))
    configure(prefix=prefix, store_timeout=5.0)
    breaker = CircuitBreaker("svc", _RULES, redis=given)
    fail(breaker)
    assert breaker.is_open
    wrong = redis.Redis(port=tls.port or 0, ssl=True)
    with pytest.raises(StoreUnavailableError, match=r"rediss://.*ssl_ca_certs"):
        CircuitBreaker("svc", _RULES, redis=wrong).reset()


def test_sentinels_and_their_primary_are_reached_over_tls(
    kind: ServerKind, authority: Authority, tls: TlsServer, prefix: str
) -> None:
    """The options of the URL hold for both; a CA that is missing is told of the sentinels."""
    config = tls_config(authority, authority.issue(*HOSTS)) | {
        "tls-replication": "yes",
        "sentinel": f"monitor main 127.0.0.1 {tls.port} 1",
    }
    with start_on_free_port(kind, config, TlsSentinel) as sentinel:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main?ssl_cert_reqs=required"
        with pytest.raises(
            StoreUnavailableError, match=f"127.0.0.1:{sentinel.port}: .*ssl_ca_certs"
        ):
            _reset(url, prefix)
        configure(f"{url}&ssl_ca_certs={authority.path}", prefix=prefix, store_timeout=5.0)
        breaker = CircuitBreaker("svc", _RULES)
        fail(breaker)
        with tls.client() as client:
            assert client.exists(f"{prefix}:{{svc}}")


def test_an_unknown_authority_is_told(tls: TlsServer, prefix: str) -> None:
    """A certificate that another authority signed is refused, and the error says what to set."""
    with Authority() as other, pytest.raises(StoreUnavailableError, match="ssl_ca_certs=/"):
        _reset(tls.tls_url(ssl_ca_certs=other.path), prefix)


def test_the_bus_tells_of_an_unknown_authority(tls: TlsServer, prefix: str) -> None:
    """Connecting a bus raises an error that says what to set."""
    bus = Buses(tls.tls_url(), prefix).make()
    with pytest.raises(RedisConnectionError, match="ssl_ca_certs=/"):
        bus.connect()


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"ssl_ca_certs": "/nowhere/ca.pem"}, "is missing"),
        ({"ssl_ca_certs": __file__}, "holds something else"),
    ],
    ids=str,
)
def test_a_file_that_is_missing_or_wrong_is_told(
    tls: TlsServer, prefix: str, options: dict[str, Any], advice: str
) -> None:
    """The error speaks of the files, not of the server."""
    with pytest.raises(StoreUnavailableError, match=f"ssl_ca_certs, .*{advice}"):
        _reset(tls.tls_url(**options), prefix)


def test_an_expired_certificate_is_told(
    kind: ServerKind, authority: Authority, prefix: str
) -> None:
    """The error says that it has expired, and what to do."""
    with (
        start_tls(kind, authority, authority.issue_expired(*HOSTS)) as server,
        pytest.raises(StoreUnavailableError, match="renew the server's certificate"),
    ):
        _reset(server.tls_url(ssl_ca_certs=authority.path), prefix)


def test_a_certificate_for_another_name_is_told(
    kind: ServerKind, authority: Authority, prefix: str
) -> None:
    """The error names the option that accepts it, and with that option it is accepted."""
    with start_tls(kind, authority, authority.issue("db.example")) as server:
        url = server.tls_url(ssl_ca_certs=authority.path)
        with pytest.raises(StoreUnavailableError, match="ssl_check_hostname=false"):
            _reset(url, prefix)
        _reset(f"{url}&ssl_check_hostname=false", prefix)


def test_the_wrong_scheme_is_told(
    kind: ServerKind, tls: TlsServer, authority: Authority, prefix: str
) -> None:
    """redis:// at a port with TLS and rediss:// at one without name each other."""
    with pytest.raises(StoreUnavailableError, match="use rediss:// if its port speaks TLS"):
        _reset(f"redis://127.0.0.1:{tls.port}/0", prefix)
    with start(kind, tcp=True) as plain:
        url = f"rediss://127.0.0.1:{plain.port}/0?ssl_ca_certs={authority.path}"
        with pytest.raises(StoreUnavailableError, match="use redis:// if its port speaks no TLS"):
            _reset(url, prefix)


def test_a_frozen_server_with_tls_costs_one_time_out(
    kind: ServerKind, authority: Authority, prefix: str
) -> None:
    """A call waits no longer than store_timeout for it."""
    with start_tls(kind, authority, authority.issue(*HOSTS)) as server:
        url = server.tls_url(ssl_ca_certs=authority.path)
        configure(url, prefix=prefix, consistency="strict", store_timeout=0.2)
        breaker = CircuitBreaker("svc", _RULES)
        assert breaker.call(lambda: 5) == 5
        server.pause()
        try:
            begun = time.monotonic()
            assert breaker.call(lambda: 6) == 6
            assert time.monotonic() - begun < 1.0
        finally:
            server.resume()
