"""Very many threads, tasks, children and circuits: connections and memory stay bounded."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig
from tests.server.cached import NEVER
from tests.server.circuits import eventually
from tests.support.loops import Run
from tests.support.servers import RunningServer
from tests.support.workers_circuit import Keys, fail_once, make_breaker

# As the README promises: for calls, and one that listens.
_MOST_CONNECTIONS = 20 + 1
_CHILDREN = 40


class _Watch:
    """Notes how many connections others have to a server at most, from a thread."""

    def __init__(self, client: redis.Redis) -> None:
        self.most = 0
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.is_set():
            self.most = max(self.most, len(self._client.client_list()) - 1)
            time.sleep(0.005)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _in_threads(count: int, work: Callable[[], Any]) -> None:
    together = threading.Barrier(count)

    def run() -> None:
        together.wait()
        work()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("both_modes")
def test_five_hundred_threads_share_the_connections(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """All call at once, some fail, every outcome counts, and the store is never given up."""
    settings = {"store_timeout": 30.0}
    breaker = make_breaker(own_server.url, prefix, settings=settings, failure_threshold=NEVER)
    breaker.call(int)
    before = threading.active_count()

    def work() -> None:
        for _ in range(4):
            breaker.call(int)
        fail_once(breaker)

    with _Watch(client) as watch:
        _in_threads(500, work)
    breaker.flush()
    keys = Keys(client, prefix)
    assert (keys.field("total_successes"), keys.field("total_failures")) == ("2001", "500")
    assert watch.most <= _MOST_CONNECTIONS
    assert threading.active_count() <= before + 3


@pytest.mark.usefixtures("both_modes")
def test_two_hundred_tasks_share_the_connections(
    own_server: RunningServer, client: redis.Redis, prefix: str, run: Run
) -> None:
    """The same in a loop, where the questions go over a bounded number of threads."""
    settings = {"store_timeout": 30.0}
    breaker = make_breaker(own_server.url, prefix, settings=settings, failure_threshold=NEVER)
    breaker.call(int)
    before = threading.active_count()

    async def work(number: int) -> None:
        for turn in range(5):
            try:
                async with breaker.protect():
                    await asyncio.sleep(0.001)
                    if (number + turn) % 4 == 0:
                        raise OSError("service is down")
            except OSError:
                continue

    async def crowd() -> None:
        await asyncio.gather(*(work(number) for number in range(200)))

    with _Watch(client) as watch:
        run(crowd())
    breaker.flush()
    keys = Keys(client, prefix)
    assert (keys.field("total_successes"), keys.field("total_failures")) == ("751", "250")
    assert watch.most <= _MOST_CONNECTIONS
    # Sixteen for questions, and those of the background.
    assert threading.active_count() <= before + 16 + 3


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_storm_of_forks_leaves_no_connections_behind(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """Forty children, twelve at a time, with threads each: all count, and all take theirs along."""
    settings = {"store_timeout": 30.0}
    breaker = make_breaker(own_server.url, prefix, settings=settings, failure_threshold=NEVER)
    breaker.call(int)

    def work() -> None:
        breaker.call(int)
        fail_once(breaker)

    def be_a_child() -> None:
        _in_threads(4, work)
        breaker.flush()

    with _Watch(client) as watch:
        living: list[int] = []
        codes = []
        for _ in range(_CHILDREN):
            if len(living) == 12:
                codes.append(_await_child(living.pop(0)))
            living.append(_fork(be_a_child))
            work()
        codes += [_await_child(child) for child in living]
    assert codes == [0] * _CHILDREN
    breaker.flush()
    keys = Keys(client, prefix)
    assert int(keys.field("total_failures")) == _CHILDREN * 5
    assert int(keys.field("total_successes")) == _CHILDREN * 5 + 1
    assert watch.most <= 13 * (4 + 1 + 1), "more than a thread, the reports and the feed need"
    eventually(lambda: len(client.client_list()) - 1 <= _MOST_CONNECTIONS, "theirs are gone")


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def _await_child(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.usefixtures("both_modes")
def test_thousands_of_circuits_share_the_connections(
    own_server: RunningServer, client: redis.Redis, prefix: str, count: int
) -> None:
    """Used by ten threads in turn; memory grows by a few kilobytes for each."""
    make_breaker(own_server.url, prefix, settings={"store_timeout": 30.0}).call(int)
    rules = CircuitBreakerConfig(call_timeout=None, failure_threshold=2)
    before = _resident()
    breakers = [CircuitBreaker(f"svc-{number}", rules) for number in range(count)]
    names = iter(breakers)

    def work() -> None:
        while (breaker := next(names, None)) is not None:
            breaker.call(int)
            fail_once(breaker)

    with _Watch(client) as watch:
        _in_threads(10, work)
        eventually(lambda: client.zcard(f"{prefix}:services") == count + 1, "all are listed")
    assert watch.most <= _MOST_CONNECTIONS
    assert (_resident() - before) / count < 16 * 1024


def _resident() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
