"""How servers are named in messages, and which options reach our connections."""

from __future__ import annotations

import fakeredis
import pytest
import redis
from redis.sentinel import Sentinel

from bb5_breaker._store.addresses import mask_url
from bb5_breaker._store.clients import client_from_url, client_like, describe_client
from bb5_breaker._store.primaries import PrimarySSLConnection
from bb5_breaker._store.sentinel_places import place_of_pool, read_sentinel_url

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        (f"redis://user:{SECRET}@db.example:1/2", "redis://db.example:1/2"),
        (f"rediss://:{SECRET}@[::1]:7/0?password={SECRET}", "rediss://[::1]:7/0"),
        (f"unix://u:{SECRET}@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        (f"redis://u:{SECRET}@host:notaport/0", "redis://..."),
        (f"redis:/user:{SECRET}@host/0", "redis://..."),
        (f"user:{SECRET}@host", "user://..."),
        (
            f"redis+sentinel://u:{SECRET}@a:1,[::1]:2,c/main/0?sentinel_password={SECRET}",
            "redis+sentinel://a:1,[::1]:2,c/main/0",
        ),
        (f"redis+sentinel://u:{SECRET}@a:1,b:{SECRET}/main", "redis+sentinel://..."),
        ("localhost", "(no scheme)"),
    ],
)
def test_masked_urls_show_no_secret(url: str, shown: str) -> None:
    """A URL is shown without user, password and query, whatever its form."""
    assert SECRET not in mask_url(url)
    assert mask_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{SECRET}@host",
        f"redis://u:{SECRET}@host:notaport/0",
        f"redis+sentinel://u:{SECRET}@host:1",
        f"redis+sentinel://u:{SECRET}@host:1/",
        f"redis+sentinel://u:{SECRET}@host:1,/main",
        f"redis+sentinel://u:{SECRET}@host:1,other:x/main",
        f"redis+sentinel://u:{SECRET}@host:1/main/first",
        f"redis+sentinel://u:{SECRET}@host:1/main/0?port=1",
        f"redis+cluster://u:{SECRET}@host:1",
        f"redis://u:{SECRET}@host/0?socket_timeout=abc",
        "",
    ],
)
def test_malformed_urls_are_refused_without_their_secret(url: str) -> None:
    """A URL that can not be used is a ValueError that says so and leaks nothing."""
    with pytest.raises(ValueError, match="redis://") as caught:
        client_from_url(url, 1.0)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("protocol", [2, 3])
def test_connections_are_our_own_whatever_the_client_is(decode: bool, protocol: int) -> None:
    """Time-outs, protocol, decoding and retries are ours; address and credentials the user's."""
    given = redis.Redis(
        "db.example",
        1234,
        db=5,
        username="u",
        password=SECRET,
        decode_responses=decode,
        protocol=protocol,
        socket_timeout=60,
        health_check_interval=3,
        client_name="theirs",
    )
    options = client_like(given, 0.25).connection_pool.connection_kwargs
    assert {name: options[name] for name in ("host", "port", "db", "username", "password")} == {
        "host": "db.example",
        "port": 1234,
        "db": 5,
        "username": "u",
        "password": SECRET,
    }
    assert options["socket_timeout"] == options["socket_connect_timeout"] == 0.25
    assert options["protocol"] == 2
    assert options["decode_responses"] is False
    assert options["retry"]._retries == 0
    assert options["health_check_interval"] == 0
    assert "client_name" not in options
    assert describe_client(client_like(given, 1.0)) == "redis://db.example:1234"


def test_the_url_of_sentinels_names_them_the_primary_and_its_logins() -> None:
    """Servers get the login before the @, sentinels theirs from the options, both the TLS."""
    place = read_sentinel_url(
        f"redis+sentinel://u%40:{SECRET}@a:1,[::1]:2,c/the%20main/3"
        "?sentinel_username=s&sentinel_password=p&ssl_ca_certs=/ca.pem&socket_keepalive=1"
    )
    tls = {"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": True}
    theirs = {"username": "s", "password": "p", **tls}
    assert place.sentinels == (
        {"host": "a", "port": 1, **theirs},
        {"host": "::1", "port": 2, **theirs},
        {"host": "c", "port": 26379, **theirs},
    )
    assert place.service == "the main"
    assert place.options == {
        "db": 3,
        "username": "u@",
        "password": SECRET,
        "socket_keepalive": True,
        **tls,
    }
    assert place.uses_tls
    assert place.sentinels_use_tls
    assert place.address == "redis+sentinel://a:1,[::1]:2,c:26379/the main"
    assert SECRET not in repr(place)


def test_a_client_of_sentinels_tells_where_they_are_and_how_to_reach_them() -> None:
    """Logins, TLS and a forced host are taken over from it; time-outs and retries are not."""
    given = Sentinel(
        [("a", 1), ("b", 2)],
        sentinel_kwargs={"password": "p", "socket_timeout": 60},
        force_master_ip="10.0.0.1",
        password=SECRET,
        socket_timeout=60,
    ).master_for("main", ssl=True, db=4)
    ours = client_like(given, 0.25)
    options = ours.connection_pool.connection_kwargs
    assert ours.connection_pool.connection_class is PrimarySSLConnection
    assert (options["password"], options["db"], options["socket_timeout"]) == (SECRET, 4, 0.25)
    place = place_of_pool(given.connection_pool)
    assert place is not None
    assert [each["password"] for each in place.sentinels] == ["p", "p"]
    assert place.forced_host == "10.0.0.1"
    assert not place.sentinels_use_tls
    for client in (given, ours):
        assert describe_client(client) == "redis+sentinel://a:1,b:2/main"


@pytest.mark.parametrize("given", [object(), "redis", redis.asyncio.Redis(), 7])
def test_other_clients_are_refused(given: object) -> None:
    """What is no synchronous single-server client is a TypeError that names what is."""
    with pytest.raises(TypeError, match=r"redis\.Redis"):
        client_like(given, 1.0)  # type: ignore[arg-type]


def test_a_fake_client_is_followed_to_its_server() -> None:
    """A fakeredis client leads our connections to the same fake server."""
    given = fakeredis.FakeRedis()
    client_like(given, 1.0).set("key", "value")
    assert given.get("key") == b"value"
