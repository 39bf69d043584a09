"""Circuits and events on the primary that sentinels name."""

from __future__ import annotations

from typing import Any

import pytest

from bb5_breaker import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerManager,
    StoreUnavailableError,
    configure,
)
from bb5_breaker._store.addresses import mask_url
from tests.support.buses import Buses, Heard, fail, wait_until
from tests.support.sentinels import SentinelSet, name, own_settings, sentinel_set

__all__ = ["name", "own_settings", "sentinel_set"]

_RULES = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=3600.0, call_timeout=None)


@pytest.mark.parametrize("consistency", ["cached", "strict"])
def test_a_circuit_is_shared_on_the_primary(
    sentinel_set: SentinelSet, name: str, consistency: str
) -> None:
    """Calls, figures, the list, the history and orders work by the URL of the sentinels."""
    configure(sentinel_set.url, prefix=name, consistency=consistency, store_timeout=5.0)
    breaker = CircuitBreaker("svc", _RULES)
    assert breaker.call(lambda: 5) == 5
    fail(breaker)
    with sentinel_set.client() as client:
        assert client.hget(f"{name}:{{svc}}", "state") == "open"
    assert breaker.call_result(int).was_rejected
    assert breaker.stats.total_calls == 2
    manager = CircuitBreakerManager()
    assert list(manager.get_all_stats()) == ["svc"]
    assert [event.data["state"] for event in manager.history()] == ["open"]
    breaker.reset()
    assert breaker.call(lambda: 6) == 6


def test_events_are_told_over_sentinels(sentinel_set: SentinelSet, name: str) -> None:
    """A bus with the URL of the sentinels hears transitions."""
    configure(sentinel_set.url, prefix=name, store_timeout=5.0)
    buses, heard = Buses(sentinel_set.url, name), Heard()
    try:
        buses.connect().subscribe("circuit_breaker.*", heard)
        breaker = CircuitBreaker("svc", _RULES)
        fail(breaker)
        breaker.reset()
        wait_until(lambda: heard.states == ["open", "closed"], "both are told")
    finally:
        buses.close()


@pytest.mark.parametrize("options", [{}, {"decode_responses": True, "protocol": 3}], ids=str)
def test_a_client_of_redis_py_leads_to_the_same_sentinels(
    sentinel_set: SentinelSet, name: str, options: dict[str, Any]
) -> None:
    """What master_for() returns is accepted by breakers and buses, over connections of our own."""
    configure(prefix=name, store_timeout=5.0)
    given = sentinel_set.manager(**options).master_for(sentinel_set.service)
    breaker = CircuitBreaker("svc", _RULES, redis=given)
    fail(breaker)
    assert CircuitBreaker("svc", _RULES, redis=sentinel_set.url).is_open
    bus = Buses("", name).make(url=None, redis=given, timeout=5.0)
    bus.connect()
    bus.disconnect()
    assert mask_url(sentinel_set.url).removesuffix("/0") in repr(bus.config)


def test_a_client_of_replicas_is_refused(sentinel_set: SentinelSet) -> None:
    """What slave_for() returns can not be written to, and the error says what to use instead."""
    given = sentinel_set.manager().slave_for(sentinel_set.service)
    with pytest.raises(TypeError, match="master_for"):
        CircuitBreaker("svc", redis=given)


def test_a_wrong_name_of_the_primary_is_told(sentinel_set: SentinelSet, name: str) -> None:
    """Orders raise an error that names the primary that no sentinel knows, and calls go on."""
    url = sentinel_set.url.replace("/main/", "/mian/")
    configure(url, prefix=name, store_timeout=5.0)
    breaker = CircuitBreaker("svc", _RULES)
    with pytest.raises(StoreUnavailableError, match=r"'mian'.*knows no primary of this name"):
        breaker.reset()
    assert breaker.call(lambda: 5) == 5


def test_passwords_of_servers_and_sentinels_are_told_apart(
    sentinel_set: SentinelSet, name: str
) -> None:
    """Both are used where they belong; a wrong one of the sentinels is named, and never shown."""
    with SentinelSet(sentinel_set.kind, "s3cr3t-one", "s3cr3t-two") as closed:
        configure(closed.url, prefix=name, store_timeout=5.0)
        fail(CircuitBreaker("svc", _RULES))
        given = closed.manager().master_for(closed.service)
        assert CircuitBreaker("svc", _RULES, redis=given).is_open
        wrong = CircuitBreaker("svc", _RULES, redis=closed.url.replace("s3cr3t-two", "s3cr3t-no"))
        with pytest.raises(StoreUnavailableError, match="set sentinel_username") as caught:
            wrong.reset()
    assert "s3cr3t" not in str(caught.value)
