"""Circuits on a Cluster behave as on one server, wherever their slots are."""

from __future__ import annotations

import os
import time

import pytest
import redis

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitState, configure
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.exceptions import StorePermissionError
from bb5_breaker.manager import CircuitBreakerManager
from tests.support.buses import fail, wait_until
from tests.support.cluster import Cluster

RULES = CircuitBreakerConfig(
    failure_threshold=3,
    success_threshold=1,
    timeout_seconds=0.3,
    reset_timeout=0.0,
    call_timeout=None,
)
# As many as to be on every primary, whichever way the slots fall.
SERVICES = [f"svc-{number}" for number in range(12)]


@pytest.mark.parametrize("mode", ["cached", "strict"])
def test_circuits_open_half_open_close_and_reset(cluster: Cluster, prefix: str, mode: str) -> None:
    """Circuits on all primaries go through their states as on one server."""
    configure(cluster.url, prefix=prefix, consistency=mode, store_timeout=2.0)
    breakers = [CircuitBreaker(service, RULES) for service in SERVICES]
    for breaker in breakers:
        assert breaker.call(lambda: 7) == 7
        for _ in range(3):
            fail(breaker)
    assert {breaker.state for breaker in breakers} <= {CircuitState.OPEN, CircuitState.HALF_OPEN}
    for breaker in breakers:
        wait_until(lambda: breaker.state is CircuitState.HALF_OPEN)  # noqa: B023
        assert breaker.call(lambda: 8) == 8
        assert breaker.state is CircuitState.CLOSED
        assert [event.data["state"] for event in breaker.history()] == [
            "open",
            "half_open",
            "closed",
        ]
        fail(breaker)
        breaker.reset()
        assert breaker.get_stats()["current_failures"] == 0


def test_circuits_are_on_all_primaries(cluster: Cluster, store: RedisStore, prefix: str) -> None:
    """The store knows by which node each circuit is served, and that is where it lies."""
    assert store.part_of(SERVICES[0]) == ""
    configure(cluster.url, prefix=prefix, store_timeout=2.0)
    for service in SERVICES:
        CircuitBreaker(service, RULES).call_result(lambda: 1 / 0)
    assert store.list_services() == sorted(SERVICES)
    parts = {service: store.part_of(service) for service in SERVICES}
    assert len(set(parts.values())) == len(cluster.primaries())
    for service, part in parts.items():
        node = cluster.primary_of(f"{prefix}:{{{service}}}")
        assert part == f"127.0.0.1:{node.port}"
        with node.client() as client:
            assert client.exists(f"{prefix}:{{{service}}}")


def test_manager_sees_circuits_of_all_primaries(cluster: Cluster, prefix: str) -> None:
    """Listing, figures, histories and resets of a manager span the cluster."""
    configure(cluster.url, prefix=prefix, store_timeout=2.0)
    manager = CircuitBreakerManager()
    for service in SERVICES:
        breaker = CircuitBreaker(service, CircuitBreakerConfig(failure_threshold=1))
        fail(breaker)
    stats = manager.get_all_stats()
    assert set(stats) == set(SERVICES)
    assert {figures["current_state"] for figures in stats.values()} == {"open"}
    assert {event.data["service"] for event in manager.history()} == set(SERVICES)
    manager.reset_all()
    assert {each["current_state"] for each in manager.get_all_stats().values()} == {"closed"}


def test_a_users_client_of_the_cluster_tells_where_it_is(cluster: Cluster, prefix: str) -> None:
    """A RedisCluster is taken for its nodes and credentials, and is not used itself."""
    given = redis.RedisCluster(host="127.0.0.1", port=cluster.ports[1], decode_responses=True)
    configure(redis=given, prefix=prefix, store_timeout=2.0)
    given.close()
    breaker = CircuitBreaker(SERVICES[0], RULES)
    for _ in range(3):
        fail(breaker)
    assert breaker.state is CircuitState.OPEN
    other = CircuitBreaker(SERVICES[0], RULES, redis=cluster.url)
    assert other.state is CircuitState.OPEN


def test_credentials_are_those_of_every_node(cluster: Cluster, prefix: str) -> None:
    """User and password of the URL go to each node; what is missing is said."""
    for node in cluster.nodes:
        with node.client() as client:
            rights = ("on", ">hunter2", "~*", "&*", "+@all")
            client.execute_command("ACL", "SETUSER", "bb5", "reset", *rights)
            client.execute_command("ACL", "SETUSER", "blind", "reset", *rights, "-cluster")
    configure(cluster.url.replace("://", "://bb5:hunter2@"), prefix=prefix, store_timeout=2.0)
    for service in SERVICES:
        CircuitBreaker(service, RULES).call(int)
    assert set(CircuitBreakerManager().get_all_stats()) == set(SERVICES)
    configure(cluster.url.replace("://", "://blind:hunter2@"), prefix=prefix, store_timeout=2.0)
    with pytest.raises(StorePermissionError, match=r"(?i)cluster"):
        CircuitBreakerManager().get_all_stats()


def test_a_child_of_a_fork_has_connections_of_its_own(cluster: Cluster, prefix: str) -> None:
    """Parent and child go on side by side."""
    configure(cluster.url, prefix=prefix, store_timeout=2.0, consistency="strict")
    breakers = [CircuitBreaker(service, RULES) for service in SERVICES]
    for breaker in breakers:
        breaker.call(int)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for breaker in breakers:
                breaker.call(int)
            status = 0
        finally:
            os._exit(status)
    for breaker in breakers:
        breaker.call(int)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [breaker.get_stats()["successful_calls"] for breaker in breakers] == [3] * len(breakers)


def test_scripts_that_a_node_forgot_are_sent_again(
    cluster: Cluster, store: RedisStore, prefix: str
) -> None:
    """A node that does not know a script is given its source; each node for itself."""
    configure(cluster.url, prefix=prefix, store_timeout=2.0, flush_interval=60.0)
    breakers = [CircuitBreaker(service, RULES) for service in SERVICES]
    for node in cluster.nodes:
        with node.client() as client:
            client.script_flush()
    for _ in range(2):
        for breaker in breakers:
            breaker.call(time.monotonic)
        breakers[0].flush()
    for breaker in breakers:
        assert breaker.get_stats()["successful_calls"] == 2


def test_a_plain_url_of_a_node_says_what_to_name_instead(
    cluster: Cluster, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who names one node by redis:// is told of redis+cluster://, and calls go on."""
    configure(cluster.nodes[0].url, prefix=prefix, store_timeout=5.0)
    breakers = [CircuitBreaker(name, RULES) for name in SERVICES]
    assert all(breaker.call(lambda: 1) == 1 for breaker in breakers)
    assert "redis+cluster://" in caplog.text
