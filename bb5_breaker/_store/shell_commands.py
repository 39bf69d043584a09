"""How to look at a circuit with redis-cli: lines to paste into a shell."""

from __future__ import annotations

import shlex

import redis

from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker._store.redis_store import RedisStore

__all__ = ["client_words", "look_commands"]


def look_commands(store: RedisStore, service: str) -> list[str]:
    """Return shell lines that show a circuit as it is stored.

    Args:
        store: Where the circuit is. A password is not in the lines: redis-cli asks for it.
        service: A checked service id.
    """
    keys = CircuitKeys.of(store.rules.prefix, service)
    looks = (
        ["HGETALL", keys.circuit.decode()],
        ["ZRANGE", keys.probes.decode(), "0", "-1", "WITHSCORES"],
        ["XREVRANGE", keys.events.decode(), "+", "-", "COUNT", "10"],
        ["PSUBSCRIBE", f"{store.rules.prefix}.*"],
    )
    client = client_words(store.client_of(service))
    return [shlex.join([*client, *words]) for words in looks]


def client_words(client: redis.Redis) -> list[str]:
    """Return how redis-cli is called for a client's server. A password is not among the words."""
    options = client.connection_pool.connection_kwargs
    words = ["redis-cli"]
    if options.get("path"):
        words += ["-s", str(options["path"])]
    else:
        words += ["-h", str(options.get("host", "localhost"))]
        words += ["-p", str(options.get("port", 6379))]
    if "ssl_cert_reqs" in options or issubclass(_connection_class(client), redis.SSLConnection):
        words.append("--tls")
    if options.get("db"):
        words += ["-n", str(options["db"])]
    if options.get("username"):
        words += ["--user", str(options["username"])]
    if options.get("password"):
        words.append("--askpass")
    return words


def _connection_class(client: redis.Redis) -> type:
    found: type = client.connection_pool.connection_class
    return found
