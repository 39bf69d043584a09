"""What tests of cached circuits look at: how often the store is asked, and who listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from bb5_breaker import CircuitBreaker
from tests.server.circuits import eventually

# Nothing is reported while the test looks, and no busy machine makes the feed look dead.
QUIET: dict[str, Any] = {"flush_interval": 60.0, "heartbeat_interval": 5.0}
NEVER = 1_000_000


def asked(client: redis.Redis, work: Callable[[], Any]) -> int:
    """Return how many scripts the server ran meanwhile, for whomever."""
    before = _scripts(client)
    work()
    return _scripts(client) - before


def await_trust(breaker: CircuitBreaker, client: redis.Redis) -> None:
    """Call until calls are let through and no longer ask."""
    results: list[Any] = []
    eventually(
        lambda: (
            asked(client, lambda: results.append(breaker.call_result(int))) == 0
            and results[-1].success
        ),
        "calls go by the view",
        seconds=15.0,
    )


def listeners(client: redis.Redis, subscriptions: int = 1) -> list[str]:
    """Return the ids of the connections with as many subscriptions or more."""
    return [one["id"] for one in client.client_list() if int(one["sub"]) >= subscriptions]


def _scripts(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    none = {"calls": 0}
    return sum(int(stats.get(f"cmdstat_{name}", none)["calls"]) for name in ("evalsha", "eval"))
