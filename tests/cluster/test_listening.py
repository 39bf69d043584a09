"""Whoever listens on one node of a Cluster goes on hearing, whatever becomes of that node."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from bb5_breaker import CircuitBreaker, configure
from bb5_breaker.exceptions import StoreUnavailableError
from tests.support.buses import Buses, Heard, wait_until
from tests.support.cluster import Cluster
from tests.support.transitions import make_flipper, trip

# From the harm to the next event of each circuit, where nodes are given up after one second.
LONGEST_SILENCE = 5.0


class Listener:
    """A bus that hears of one circuit, and the node on which it listens."""

    def __init__(self, cluster: Cluster, buses: Buses, prefix: str) -> None:
        self._cluster = cluster
        self._channel = f"{prefix}.watched"
        self.heard = Heard()
        self.bus = buses.connect(timeout=1.0)
        self.bus.subscribe(f"{prefix}.*", self.heard)
        self.bus.subscribe(self._channel, Heard())

    @property
    def port(self) -> int | None:
        """Port of the node; None while there is none."""
        for node in self._cluster.nodes:
            if node.is_running and node.answers():
                with node.client() as client:
                    ((_, count),) = client.pubsub_numsub(self._channel)
                if count:
                    return node.port
        return None


@pytest.fixture
def listener(cluster: Cluster, buses: Buses, prefix: str) -> Listener:
    """A bus with a circuit of its own."""
    return Listener(cluster, buses, prefix)


@pytest.fixture
def flippers(cluster: Cluster, prefix: str) -> list[CircuitBreaker]:
    """Circuits on all primaries."""
    configure(cluster.url, prefix=prefix, store_timeout=0.5, store_retry_interval=0.1)
    return [make_flipper(f"svc-{number}", consistency="strict") for number in range(6)]


def flip_until_heard(listener: Listener, flippers: list[CircuitBreaker]) -> float:
    """Make transitions until one of each circuit is told; return the seconds that it took."""
    began = time.monotonic()
    waiting = {breaker.service_id for breaker in flippers}
    seen = len(listener.heard.events)
    while waiting:
        assert time.monotonic() - began < 20.0, f"nothing heard of {waiting}"
        for breaker in flippers:
            with suppress(StoreUnavailableError):
                if not trip(breaker):
                    breaker.reset()
        news = listener.heard.events[seen:]
        waiting -= {str(event.data["service"]) for _, event in news}
        time.sleep(0.02)
    return time.monotonic() - began


def check(listener: Listener, flippers: list[CircuitBreaker]) -> None:
    """All that is in the histories was told, once, in the order of each circuit."""

    def kept(breaker: CircuitBreaker) -> list[str]:
        return [event.metadata.event_id for event in breaker.history()]

    def told(breaker: CircuitBreaker) -> list[str]:
        return [
            event.metadata.event_id
            for _, event in listener.heard.events
            if event.data["service"] == breaker.service_id
        ]

    for breaker in flippers:
        wait_until(lambda: told(breaker) == kept(breaker), "all told")  # noqa: B023


def test_events_go_on_when_the_node_is_killed(
    cluster: Cluster, listener: Listener, flippers: list[CircuitBreaker]
) -> None:
    """Another node is listened on, and what happened meanwhile is told first."""
    flip_until_heard(listener, flippers)
    port = listener.port
    assert port in cluster.primaries()
    cluster.node_at(port).kill()
    assert flip_until_heard(listener, flippers) < LONGEST_SILENCE
    check(listener, flippers)
    wait_until(lambda: listener.port not in (None, port))


def test_events_go_on_when_the_node_freezes(
    cluster: Cluster, listener: Listener, flippers: list[CircuitBreaker]
) -> None:
    """A node that says nothing is left by the heartbeat."""
    flip_until_heard(listener, flippers)
    port = listener.port
    assert port is not None
    cluster.node_at(port).pause()
    assert flip_until_heard(listener, flippers) < LONGEST_SILENCE
    cluster.node_at(port).resume()
    check(listener, flippers)


def test_a_node_that_left_the_cluster_is_noticed(
    cluster: Cluster, listener: Listener, flippers: list[CircuitBreaker]
) -> None:
    """It answers its subscribers as before and hears nothing any more."""
    flip_until_heard(listener, flippers)
    port = listener.port
    assert port is not None
    cluster.expel(port)
    try:
        assert flip_until_heard(listener, flippers) < LONGEST_SILENCE
        wait_until(lambda: listener.port not in (None, port))
        check(listener, flippers)
    finally:
        cluster.readmit(port)


def test_a_node_that_is_no_primary_any_more_is_left(
    cluster: Cluster, listener: Listener, flippers: list[CircuitBreaker]
) -> None:
    """So that a fleet does not gather on a replica."""
    flip_until_heard(listener, flippers)
    port = listener.port
    assert port is not None
    cluster.hand_over(port)
    wait_until(lambda: listener.port not in (None, port))
    flip_until_heard(listener, flippers)
    check(listener, flippers)
