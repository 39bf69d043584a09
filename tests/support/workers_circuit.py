"""Breakers for tests, and all that a server holds of one circuit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure
from bb5_breaker import configuration as _configuration
from bb5_breaker._core.commands import Admit, Extend, Outcome, Record, Reset, Run, Settle
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Reply
from bb5_breaker._shell.link import Link, _end
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.redis_store import RedisStore

# Whether calls go by what the process knows: in the environment, so that worker processes
# inherit it.
CONSISTENCY_VARIABLE = "BB5_TEST_CONSISTENCY"
# The default of 100 ms is for production; a busy machine must not fail a test.
PATIENT: Mapping[str, Any] = {"store_timeout": 5.0}


class ServiceFailed(Exception):
    """What a guarded call raises in tests."""


def fail() -> None:
    """Be the call that fails."""
    raise ServiceFailed("the service failed")


def make_breaker(
    url: str,
    prefix: str,
    service: str = "svc",
    settings: Mapping[str, Any] | None = None,
    **config: Any,
) -> CircuitBreaker:
    """Configure this process for a test and return a breaker; call_timeout is off."""
    mode = {"consistency": os.environ.get(CONSISTENCY_VARIABLE, "cached")}
    configure(url, prefix=prefix, **{**PATIENT, **mode, **(settings or {})})
    rules = CircuitBreakerConfig(**{"call_timeout": None, **config})
    return CircuitBreaker(service, rules)


@contextmanager
def settings_restored() -> Iterator[None]:
    """Give this process its settings back in the end, and end what it began with others.

    Threads of a store that goes away with its test would write lines into the next one's log.
    """
    before, known = _configuration.current_settings(), set(_configuration._links)
    try:
        yield
    finally:
        _configuration._set(before)
        for place, link in list(_configuration._links.items()):
            if place not in known:
                _configuration._links.pop(place, None)
                _end_link(link)


def fail_once(breaker: CircuitBreaker) -> None:
    """Make a call that fails."""
    try:
        breaker.call(fail)
    except ServiceFailed:
        return
    raise AssertionError("the error of the call was lost")


def end_link(breaker: CircuitBreaker) -> None:
    """End the threads and connections of a breaker's store, whoever still holds on to it."""
    _end_link(breaker._link())


def _end_link(link: Link) -> None:
    _end(link._feed, link.recovery, link.flusher, link.trouble)


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self, now_ms: int = 1_900_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        """Return the time in ms."""
        return self.now_ms

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.now_ms += ms


class Bench:
    """The scripts of one circuit without a breaker around them.

    Args:
        client: A client of the server.
        url: The server's URL.
        prefix: Prefix of keys.
        clock: Time in ms that the scripts are told; None for the server's own.
        rules: Further rules of the store.
        config: Fields of the configuration.
    """

    def __init__(
        self,
        client: redis.Redis,
        url: str,
        prefix: str,
        clock: Callable[[], int] | None = None,
        rules: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> None:
        self.client = client
        self.clock = clock
        self.store = RedisStore(
            client_from_url(url, 5.0), StoreRules(prefix, **(rules or {})), "a test server", clock
        )
        self.circuit = Circuit.of("svc", CircuitBreakerConfig(**config))
        self.keys = Keys(client, prefix, "svc")

    def admit(self, token: str = "t1") -> CircuitView:
        """Ask for leave to call."""
        return _view(self.store.run(Admit(self.circuit, token)))

    def record(self, runs: str | list[Run], leave: CircuitView | None = None) -> CircuitView:
        """Report calls, a letter s or f each, admitted by ``leave``."""
        if isinstance(runs, str):
            kinds = {"s": Outcome.SUCCESS, "f": Outcome.FAILURE}
            runs = [Run(kinds[letter], 1) for letter in runs]
        generation, epoch = (leave.generation, leave.epoch) if leave else (0, "")
        return _view(
            self.store.run(Record(self.circuit, generation, epoch, tuple(runs), "ServiceFailed"))
        )

    def settle(
        self, outcome: Outcome, leave: CircuitView, token: str = "t1", error: str = ""
    ) -> CircuitView:
        """Report the end of a probe admitted by ``leave``."""
        return _view(
            self.store.run(
                Settle(self.circuit, leave.generation, leave.epoch, token, outcome, error)
            )
        )

    def extend(self, leave: CircuitView, token: str = "t1") -> CircuitView:
        """Renew a probe's lease."""
        return _view(self.store.run(Extend(self.circuit, leave.epoch, token)))

    def reset(self) -> CircuitView:
        """Close by hand."""
        return _view(self.store.run(Reset(self.circuit)))


class Keys:
    """All that a server holds of one circuit.

    Args:
        client: A client of the server that does not decode.
        prefix: Prefix of keys.
        service: Service id.
    """

    def __init__(self, client: redis.Redis, prefix: str, service: str = "svc") -> None:
        self._client = client
        self.circuit = f"{prefix}:{{{service}}}"
        self.window = f"{self.circuit}:window"
        self.probes = f"{self.circuit}:probes"
        self.cooldown = f"{self.circuit}:cooldown"
        self.events = f"{self.circuit}:events"
        self.registry = f"{prefix}:services"

    def own(self) -> list[str]:
        """Return the names of the circuit's keys that exist, sorted."""
        found: Any = self._client.scan_iter(match=f"{self.circuit}*", count=1000)
        return sorted(name.decode() for name in found)

    def everything(self) -> dict[str, Any]:
        """Return the content of hash, window, probes, cooldown and stream."""
        client = self._client
        return {
            "circuit": client.hgetall(self.circuit),
            "window": client.zrange(self.window, 0, -1, withscores=True),
            "probes": client.zrange(self.probes, 0, -1, withscores=True),
            "cooldown": client.get(self.cooldown),
            "events": client.xrange(self.events),
        }

    def field(self, name: str) -> str:
        """Return one field of the hash; empty when it is not there."""
        value: Any = self._client.hget(self.circuit, name)
        return value.decode() if value is not None else ""

    def transitions(self) -> list[tuple[str, int]]:
        """Return state and generation of every transition in the stream."""
        entries: Any = self._client.xrange(self.events)
        return [(fields[b"state"].decode(), int(fields[b"generation"])) for _, fields in entries]

    def without_expiry(self) -> list[str]:
        """Return the names of keys that would stay for ever."""
        names = [*self.own(), self.registry]
        return [name for name in names if self._client.pttl(name) == -1]


def snapshot_of(reply: Reply) -> CircuitSnapshot:
    """Return the reply of a snapshot."""
    assert isinstance(reply, CircuitSnapshot)
    return reply


def _view(reply: Reply) -> CircuitView:
    assert isinstance(reply, CircuitView)
    return reply
