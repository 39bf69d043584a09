"""How a Cluster is named, and what its nodes tell of it."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bb5_breaker._store.cluster.client import cluster_from_url
from bb5_breaker._store.cluster.slot_map import Node, read_slot_map
from bb5_breaker._store.cluster.topology import is_well_connected
from bb5_breaker._store.faults import explain_fault
from bb5_breaker._store.redirection import RedirectedError, read_redirection
from bb5_breaker._store.targets import open_client

SECRET = "s3cr3t"
ASKED = Node("seed.example", 7000)


def options_of(url: str) -> tuple[type, dict[str, Any]]:
    """Return what connections to the first node of a URL are made of."""
    nodes = cluster_from_url(url, 0.25)._nodes
    pool = nodes.at(nodes.seeds[0]).client.connection_pool
    return pool.connection_class, pool.connection_kwargs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+cluster://a", "redis+cluster://a:6379"),
        ("redis+cluster://a:1,b:2,[::1]:3", "redis+cluster://a:1,b:2,[::1]:3"),
        (f"rediss+cluster://u:{SECRET}@a:1,b:2/0", "rediss+cluster://a:1,b:2"),
        ("redis+cluster://a:1,b:1,c:1,d:1", "redis+cluster://a:1,b:1,c:1"),
    ],
)
def test_a_cluster_is_named_by_its_nodes(url: str, shown: str) -> None:
    """Some of its nodes, and never a secret, in messages."""
    assert open_client(url, 1.0).address == shown


def test_options_of_the_url_are_those_of_every_connection() -> None:
    """User, password and TLS; time-outs and protocol are ours."""
    kind, options = options_of(f"rediss+cluster://u:{SECRET}@a:1,b:2/0?ssl_cert_reqs=none")
    assert kind is redis.SSLConnection
    wanted = {"username": "u", "password": SECRET, "host": "a", "port": 1, "ssl_cert_reqs": "none"}
    assert wanted.items() <= options.items()
    assert options["socket_timeout"] == options["socket_connect_timeout"] == 0.25
    assert options["protocol"] == 2


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        f"redis+cluster://u:{SECRET}@",
        f"redis+cluster://u:{SECRET}@a:1,,b:2",
        f"redis+cluster://u:{SECRET}@a:1,b:port",
        f"redis+cluster://u:{SECRET}@a:1/3",
        f"redis+cluster://u:{SECRET}@a:1?retry={SECRET}",
    ],
)
def test_malformed_urls_are_refused_without_their_secret(url: str) -> None:
    """A URL that can not be used is a ValueError that leaks nothing."""
    with pytest.raises(ValueError, match="redis") as caught:
        open_client(url, 1.0)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_map_names_the_primary_of_each_slot() -> None:
    """Also where a node leaves out its own address, or does not know another's."""
    reply = [
        [0, 99, [b"10.0.0.1", 7001, b"id"], [b"10.0.0.2", 7002, b"id", []]],
        [100, 199, [b"", 7000, b"id"]],
        [200, 200, [None, 7000, b"id"]],
        [201, 300, [b"?", 7003, b"id"]],
    ]
    found = read_slot_map(reply, ASKED, None)
    assert found.owners[0] == found.owners[99] == Node("10.0.0.1", 7001)
    assert found.owners[100] == found.owners[200] == ASKED
    assert found.owners[201] is None
    assert found.owners[16383] is None
    assert found.primaries == (Node("10.0.0.1", 7001), ASKED)
    assert found.replicas == (Node("10.0.0.2", 7002),)
    moved = found.moved(5, Node("new", 1))
    assert moved.owners[4:7] == (*found.owners[4:5], Node("new", 1), *found.owners[6:7])
    assert len(moved.owners) == len(found.owners)


def test_a_map_is_told_by_reachable_addresses() -> None:
    """A user's client that knows how nodes are reached from here says so."""
    found = read_slot_map(
        [[0, 1, [b"10.0.0.1", 7001]]], ASKED, lambda place: ("localhost", place[1] + 1)
    )
    assert found.owners[0] == Node("localhost", 7002)


@pytest.mark.parametrize("reply", [[[5, 1, [b"a", 1]]], [[0, 16384, [b"a", 1]]], [[0]], [7]])
def test_what_is_no_map_is_refused(reply: Any) -> None:
    """Whatever a server answers that is no node of a cluster."""
    with pytest.raises((ValueError, TypeError, IndexError)):
        read_slot_map(reply, ASKED, None)


def test_who_is_sent_elsewhere_is_told_how_to_name_a_cluster() -> None:
    """MOVED and ASK are told apart, and are no mere refusals."""
    moved = redis.exceptions.MovedError("449 10.0.0.1:7001")
    error = explain_fault(moved, "redis://a:1")
    assert isinstance(error, RedirectedError)
    assert error.redirection == (449, "10.0.0.1", 7001, True)
    assert "redis+cluster://" in error.message
    asked = read_redirection(redis.exceptions.AskError("449 ::1:7001"))
    assert asked == (449, "::1", 7001, False)
    assert read_redirection(ValueError()) is None


def test_a_node_that_is_cut_off_says_so() -> None:
    """One that may not be asked is believed."""
    assert is_well_connected(b"cluster_state:ok\r\ncluster_size:3\r\n")
    assert not is_well_connected(b"cluster_state:fail\r\ncluster_size:3\r\n")
    assert not is_well_connected(b"cluster_state:ok\r\ncluster_size:0\r\n")
    assert is_well_connected(redis.ResponseError("NOPERM"))
