"""A server whose memory is full: it refuses what writes, or throws away what it holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.server.circuits import eventually
from tests.support.servers import RunningServer, start
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import Keys

_WORKERS = 3
_OPEN_SECONDS = 1.5
_RULES: dict[str, Any] = {
    "failure_threshold": 3,
    "timeout_seconds": _OPEN_SECONDS,
    "reset_timeout": 0.0,
    "success_threshold": 1,
}
_SETTINGS = {"store_timeout": 1.0, "store_retry_interval": 0.1, "heartbeat_interval": 0.3}
_EVICTING = {"maxmemory": "4mb", "maxmemory-policy": "allkeys-lru"}


@contextmanager
def _filled(server: RunningServer) -> Iterator[None]:
    """Somebody else keeps the server's memory full."""
    over = threading.Event()

    def fill() -> None:
        number = 0
        with server.client() as client:
            while not over.is_set():
                with client.pipeline(transaction=False) as batch:
                    for _ in range(100):
                        number += 1
                        batch.set(f"junk:{number}", b"x" * 2000)
                    batch.execute()

    filling = threading.Thread(target=fill)
    filling.start()
    try:
        yield
    finally:
        over.set()
        filling.join()


@pytest.mark.usefixtures("both_modes")
def test_a_full_server_does_not_open_what_is_open(own_server: RunningServer, prefix: str) -> None:
    """Open stays open to its end, each process probes for itself, later all is shared again."""
    client = own_server.client()
    keys = Keys(client, prefix)
    assignment = Assignment(own_server.url, prefix, config=_RULES, settings=_SETTINGS)
    with Crew(_WORKERS, assignment) as crew:
        crew.ask_all("calls", outcomes="s")
        tripped = time.monotonic()
        assert crew.workers[0].ask("calls", outcomes="fff") == "fff"
        eventually(lambda: crew.ask_all("calls", outcomes="s") == ["r"] * _WORKERS, "all know")
        client.config_set("maxmemory", 1)
        until = tripped + _OPEN_SECONDS + 0.4
        for ran in crew.ask_all("watched_calls", until=until, hold=0.01):
            assert ran, "a process never tried again"
            assert ran[0][0] >= tripped + _OPEN_SECONDS
        client.config_set("maxmemory", 0)
        eventually(
            lambda: crew.ask_all("calls", outcomes="s") and keys.field("state") == "closed",
            "closed for all",
        )
    states = [state for state, _ in keys.transitions()]
    assert states == ["open", "half_open", "closed"]


@pytest.mark.parametrize("again", [False, True], ids=["once", "again-and-again"])
@pytest.mark.usefixtures("both_modes")
def test_an_evicted_circuit_stays_open(any_server: RunningServer, prefix: str, again: bool) -> None:
    """What the server threw away is given back to it: nobody calls before the end."""
    with start(any_server.kind, config=_EVICTING) as server:
        client = server.client()
        keys = Keys(client, prefix)
        assignment = Assignment(server.url, prefix, config=_RULES, settings=_SETTINGS)
        with Crew(_WORKERS, assignment) as crew, ExitStack() as filled:
            crew.ask_all("calls", outcomes="s")
            tripped = time.monotonic()
            assert crew.workers[0].ask("calls", outcomes="fff") == "fff"
            eventually(lambda: crew.ask_all("calls", outcomes="s") == ["r"] * _WORKERS, "all know")
            # Each from the store itself, by its rejections: what was only pushed is not held
            # against it.
            crew.ask_all("flush")
            until = tripped + _OPEN_SECONDS + 0.7
            filled.enter_context(_filled(server))
            # Looking does not make it young.
            eventually(lambda: client.type(keys.circuit) == b"none", "it is thrown away")
            if not again:
                filled.close()
                client.flushall()
            assert time.monotonic() < tripped + _OPEN_SECONDS, "too late to show anything"
            seen = crew.ask_all("watched_calls", until=until, hold=0.01)
        early = [ran[0][0] - tripped for ran in seen if ran[0][0] < tripped + _OPEN_SECONDS]
        assert early == []


@pytest.mark.usefixtures("both_modes")
def test_calls_go_on_while_keys_are_thrown_away(any_server: RunningServer, prefix: str) -> None:
    """Whichever of our keys goes when, no call fails of it, and at rest the circuit works."""
    with start(any_server.kind, config=_EVICTING) as server:
        client = server.client()
        keys = Keys(client, prefix)
        # The failures of all in a row are no reason to open yet.
        rules = {**_RULES, "failure_threshold": 50, "timeout_seconds": 30.0}
        assignment = Assignment(server.url, prefix, config=rules, settings=_SETTINGS)
        with Crew(_WORKERS, assignment) as crew:
            with _filled(server):
                for _ in range(5):
                    assert crew.ask_all("calls", outcomes="sfs" * 20) == ["sfs" * 20] * _WORKERS
                    time.sleep(0.1)
            assert client.info("stats")["evicted_keys"] > 1000
            client.flushdb()
            eventually(
                lambda: crew.ask_all("calls", outcomes="s") and keys.field("state") == "closed",
                "stored again",
            )
            crew.ask_all("flush")
            assert crew.workers[0].ask("calls", outcomes="f" * 50) == "f" * 50
            # Told a little later where the worker still took the server for full.
            eventually(lambda: keys.field("state") == "open", "open")
            eventually(lambda: crew.ask_all("calls", outcomes="s") == ["r"] * _WORKERS, "all know")
