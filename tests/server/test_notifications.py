"""A process that only listens ends open periods as well: by the time it knows, or by the key."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import redis

from bb5_breaker import configure
from bb5_breaker._bus.notifications import merge_flags
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker.event_bus import EventBusConfig, Topics
from bb5_breaker.events import CircuitEvent
from tests.support.buses import Buses, Heard, make_breaker, wait_until
from tests.support.servers import RunningServer
from tests.support.transitions import make_flipper, trip

_ROOT = Path(__file__).parents[2]
_PROMISED_SECONDS = 0.5
# A worker that opens a circuit for a second and dies.
_DOOMED = """
import os, signal, sys
from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure

def broken():
    raise OSError

configure(sys.argv[1], prefix=sys.argv[2], store_timeout=5.0)
rules = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=float(sys.argv[4]))
CircuitBreaker(sys.argv[3], rules).call_result(broken)
os.kill(os.getpid(), signal.SIGKILL)
"""


def trip_and_die(server: RunningServer, prefix: str, service: str, seconds: float) -> None:
    """Have another process open a circuit, which is killed at once."""
    words = [sys.executable, "-c", _DOOMED, server.url, prefix, service, str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    ended = subprocess.run(words, cwd=_ROOT, env=environment, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL


def delay_of(heard: Heard) -> float:
    """Return the seconds between the end of the open period and the half-open state."""
    opened, half_open = (event for _, event in heard.events)
    at = datetime.fromisoformat(half_open.metadata.timestamp).timestamp()
    return at - float(opened.data["open_until_ms"]) / 1000


@pytest.mark.parametrize(
    ("present", "merged"),
    [
        ("", "Kx"),
        ("Kx", "Kx"),
        ("xK", "xK"),
        ("KA", "KA"),
        ("AKE", "AKE"),
        ("Ex", "ExK"),
        ("A", "AK"),
        ("Kg$", "Kg$x"),
        ("Elg", "ElgKx"),
    ],
)
def test_flags_are_added_and_none_is_taken_away(present: str, merged: str) -> None:
    """Whatever others need of the server's notifications stays."""
    assert merge_flags(present) == merged


def flags_of(client: redis.Redis) -> set[str]:
    """Return the server's setting."""
    return set(client.config_get("notify-keyspace-events")["notify-keyspace-events"])


def test_the_server_is_set_to_tell_of_expiries(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """When somebody listens to circuits, and not before."""
    client.config_set("notify-keyspace-events", "Eg$")
    made = Buses(own_server.admin_url, prefix)
    try:
        bus = made.connect()
        bus.subscribe("news", Heard())
        assert flags_of(client) == set("Eg$")
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, Heard())
        assert flags_of(client) == set("Eg$Kx")
    finally:
        made.close()


def test_the_setting_is_left_alone_where_that_is_asked(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """For servers whose settings are somebody else's affair."""
    before = flags_of(client)
    made = Buses(own_server.url, prefix)
    try:
        made.connect(keyspace_notifications=False).subscribe(Topics.CIRCUIT_BREAKER_ALL, Heard())
        assert flags_of(client) == before
    finally:
        made.close()


def test_only_yes_or_no(prefix: str) -> None:
    """Text is no answer."""
    with pytest.raises(ValueError, match="keyspace_notifications must be a bool, got 'no'"):
        EventBusConfig(keyspace_notifications="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("listens_before", [True, False])
def test_a_listener_ends_the_period_of_a_circuit_whose_process_died(
    buses: Buses, server: RunningServer, prefix: str, listens_before: bool
) -> None:
    """Within 500 ms, without a breaker, whether it heard of the trip or read of it."""
    bus, heard, service = buses.connect(), Heard(), f"{prefix}-a"
    if listens_before:
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
    trip_and_die(server, prefix, service, 1.0)
    if not listens_before:
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard, since="beginning")
    wait_until(lambda: len(heard.events) == 2)
    assert heard.states == ["open", "half_open"]
    assert 0 <= delay_of(heard) <= _PROMISED_SECONDS


def test_without_the_right_to_configure_it_goes_by_the_clock(
    own_server: RunningServer, client: redis.Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a managed Redis has no CONFIG; told in one line, at the level of information."""
    caplog.set_level(logging.INFO, "bb5_breaker")
    rights = ("~*", f"&{prefix}.*", "+@all", "-config")
    client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">secret", *rights)
    made, heard = (
        Buses(own_server.admin_url.replace("://", "://narrow:secret@", 1), prefix),
        Heard(),
    )
    try:
        bus = made.connect()
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        trip_and_die(own_server, prefix, "a", 0.5)
        wait_until(lambda: len(heard.events) == 2)
        assert delay_of(heard) <= _PROMISED_SECONDS
        told = [line for line in caplog.records if "clocks of processes" in line.getMessage()]
        assert [line.levelname for line in told] == ["INFO"]
        assert not [line for line in caplog.records if line.levelno >= logging.ERROR]
    finally:
        made.close()


def test_the_expiry_of_the_key_ends_the_period_of_one_who_knows_no_better(
    buses: Buses, server: RunningServer, prefix: str
) -> None:
    """A period that was cut short in the store: the notification comes before the known time."""
    configure(server.url, prefix=prefix, store_timeout=5.0)
    breaker, bus, heard = make_flipper(f"{prefix}-a"), buses.connect(), Heard()
    bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
    trip(breaker)
    wait_until(lambda: len(heard.events) == 1)
    keys, client = CircuitKeys.of(prefix, f"{prefix}-a"), server.client()
    seconds, micros = client.time()
    client.hset(keys.circuit, "open_until_ms", seconds * 1000 + micros // 1000)
    client.pexpire(keys.cooldown, 1)
    begun = time.monotonic()
    while client.exists(keys.cooldown):
        time.sleep(0.001)
    wait_until(lambda: len(heard.events) == 2)
    assert time.monotonic() - begun < 5.0
    assert heard.states == ["open", "half_open"]


def test_many_listeners_make_one_transition(
    buses: Buses, server: RunningServer, prefix: str
) -> None:
    """However many of them think that it is time."""
    configure(server.url, prefix=prefix, store_timeout=5.0)
    listeners = [(buses.connect(), Heard()) for _ in range(10)]
    for bus, heard in listeners:
        bus.subscribe(Topics.CIRCUIT_BREAKER_STATE, heard)
    breaker = make_breaker(server, f"{prefix}-a", timeout_seconds=0.3)
    trip(breaker)
    for _, heard in listeners:
        wait_until(lambda heard=heard: len(heard.events) == 2)  # type: ignore[misc]
    time.sleep(0.3)
    for _, heard in listeners:
        events = [event for _, event in heard.events]
        assert [e.generation for e in events if isinstance(e, CircuitEvent)] == [1, 2]
