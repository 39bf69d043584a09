"""What gathers in a process is reported soon, seldom, once, and before the process ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from bb5_breaker import CircuitBreakerManager, StoreUnavailableError
from tests.server.cached import NEVER, QUIET, asked, await_trust
from tests.server.circuits import eventually
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import (
    Keys,
    fail_once,
    make_breaker,
)
from tests.support.workers_exits import CALLS

_ROOT = Path(__file__).parents[2]


def _successes(client: redis.Redis, prefix: str, service: str = "svc") -> int:
    return int(Keys(client, prefix, service).field("total_successes") or 0)


def test_successes_are_reported_once_an_interval(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """However many there are in a second, and however many threads make them."""
    size = 1_000_000
    settings = {"flush_interval": 0.2, "flush_size": size, "heartbeat_interval": 5.0}
    breaker = make_breaker(own_server.url, prefix, settings=settings)
    await_trust(breaker, client)
    made: list[int] = []

    def work() -> None:
        ends, count = time.monotonic() + 1.0, 0
        while time.monotonic() < ends:
            breaker.call(int)
            count += 1
        made.append(count)

    def all_work() -> None:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    breaker.stats.reset()
    before = _successes(client, prefix)
    begun = time.monotonic()
    scripts = asked(client, all_work)
    took = time.monotonic() - begun
    # On a quick machine so many calls fit into a second that some are reported sooner.
    assert 3 <= scripts <= took / 0.2 + 2 + sum(made) / size
    assert sum(made) > 1000
    eventually(lambda: _successes(client, prefix) - before == sum(made), "all are reported")


def test_a_circuit_with_many_outcomes_is_reported_sooner(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """flush_size outcomes end the wait, of successes and of rejections; fewer do not."""
    settings = {**QUIET, "flush_size": 100}
    breaker = make_breaker(own_server.url, prefix, settings=settings, failure_threshold=1)
    await_trust(breaker, client)
    breaker.flush()
    before = _successes(client, prefix)
    for _ in range(99):
        breaker.call(int)
    time.sleep(0.1)
    assert _successes(client, prefix) == before
    breaker.call(int)
    eventually(lambda: _successes(client, prefix) == before + 100, "a hundred are reported")
    fail_once(breaker)
    for _ in range(250):
        assert breaker.call_result(int).was_rejected
    eventually(lambda: int(Keys(client, prefix).field("rejections") or 0) >= 100, "rejections too")


def test_many_circuits_are_reported_in_one_round_trip(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """Two hundred circuits, one pipeline."""
    breakers = [
        make_breaker(own_server.url, prefix, f"svc-{number}", settings=QUIET)
        for number in range(200)
    ]
    for breaker in breakers:
        await_trust(breaker, client)
        breaker.call(int)
    before = sum(_successes(client, prefix, breaker.service_id) for breaker in breakers)

    def reads() -> int:
        return int(client.info("stats")["total_reads_processed"])

    already = reads()
    assert asked(client, CircuitBreakerManager().flush) == 200
    # A pipeline of 200 scripts is about 100 KB, and the server reads 16 at a time.
    assert reads() - already < 20
    after = sum(_successes(client, prefix, breaker.service_id) for breaker in breakers)
    assert after >= before + 200


def test_a_circuit_that_was_left_alone_is_looked_after_again(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """After a pause without calls, and a look at its figures, the next success is reported."""
    settings = {"flush_interval": 0.01, "heartbeat_interval": 5.0}
    breaker = make_breaker(own_server.url, prefix, settings=settings)
    await_trust(breaker, client)
    flusher = breaker._link().flusher
    for number in range(3):
        eventually(lambda: not flusher._idle, "nobody looks after it")
        for _ in range(number):
            breaker.flush()
        before = _successes(client, prefix)
        breaker.call(int)
        eventually(
            lambda seen=before: _successes(client, prefix) == seen + 1, "it is reported", 2.0
        )


def test_a_look_at_all_figures_leaves_the_background_reports_at_work(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """What get_all_stats reports of a circuit that was left alone is looked after from then on."""
    settings = {"flush_interval": 0.01, "heartbeat_interval": 5.0}
    breaker = make_breaker(own_server.url, prefix, settings=settings)
    await_trust(breaker, client)
    manager, flusher = CircuitBreakerManager(), breaker._link().flusher
    for _ in range(20):
        eventually(lambda: not flusher._idle, "nobody looks after it")
        breaker.call(int)
        manager.get_all_stats()
        before = _successes(client, prefix)
        breaker.call(int)
        eventually(
            lambda seen=before: _successes(client, prefix) == seen + 1, "it is reported", 2.0
        )


def test_a_breaker_that_is_thrown_away_leaves_its_calls_to_be_reported(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """The successes of a breaker that lives for one call count as well."""
    settings = {"flush_interval": 0.05, "heartbeat_interval": 5.0}
    first = make_breaker(own_server.url, prefix, settings=settings)
    await_trust(first, client)
    first.flush()
    before = _successes(client, prefix)
    for _ in range(20):
        type(first)("svc", first.config).call(int)
    del first
    eventually(lambda: _successes(client, prefix) == before + 20, "all are reported")


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("end", 0),
        ("leave", 3),
        ("fail", 1),
        ("fork", 0),
        ("process-fork", 0),
        ("process-spawn", 0),
        ("process-forkserver", 0),
        ("pool-fork", 0),
        ("pool-spawn", 0),
    ],
)
def test_an_orderly_end_reports_what_is_left(
    any_server: RunningServer, prefix: str, how: str, code: int
) -> None:
    """Of a program or of a child of it; the next report would have been a minute away."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.workers_exits", how, any_server.url, prefix],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert _successes(any_server.client(), prefix) == CALLS
    if how != "fail":
        assert done.stderr == ""


@pytest.mark.parametrize("away", ["frozen", "killed"])
def test_the_end_of_a_process_does_not_wait_for_a_dead_redis(
    own_server: RunningServer, prefix: str, away: str
) -> None:
    """Below two seconds, though the store's time-out is five, and without a word."""
    command = [sys.executable, "-m", "tests.support.workers_exits", "wait"]
    with subprocess.Popen(
        [*command, own_server.url, prefix],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "called\n"
        own_server.pause() if away == "frozen" else own_server.kill()
        begun = time.monotonic()
        process.stdin.write("end\n")
        process.stdin.flush()
        process.wait(30)
        assert time.monotonic() - begun < 2.0
        assert process.returncode == 0
        assert process.stderr.read() == ""
    if away == "frozen":
        own_server.resume()


@pytest.mark.parametrize("circuits", [1, 3])
def test_reports_whose_answer_was_lost_count_once(
    own_server: RunningServer, client: redis.Redis, prefix: str, circuits: int
) -> None:
    """The network is cut between request and reply: sent again, they are known."""
    with Proxy(own_server.url) as proxy:
        settings = {**QUIET, "store_timeout": 2.0}
        breakers = [
            make_breaker(proxy.url, prefix, f"svc-{number}", settings=settings)
            for number in range(circuits)
        ]
        for breaker in breakers:
            await_trust(breaker, client)
            breaker.flush()
        before = [_successes(client, prefix, breaker.service_id) for breaker in breakers]
        for breaker in breakers:
            for _ in range(10):
                breaker.call(int)
        proxy.calls.hold()
        report = threading.Thread(target=lambda: _try_to(CircuitBreakerManager().flush))
        report.start()
        eventually(lambda: proxy.calls.held_bytes > 0, "the answer is on its way")
        proxy.calls.cut()
        proxy.calls.release()
        report.join()
        for breaker in breakers:
            breaker.call(int)
            breaker.flush()
        after = [_successes(client, prefix, breaker.service_id) for breaker in breakers]
    assert after == [count + 11 for count in before]


def test_successes_that_were_reported_late_do_not_end_a_streak_that_began_meanwhile(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """Held up by an outage of this process's network, they are as old as they are."""
    with Proxy(own_server.url) as proxy:
        settings = {**QUIET, "store_timeout": 0.2}
        breaker = make_breaker(proxy.url, prefix, settings=settings)
        await_trust(breaker, client)
        breaker.flush()
        breaker.call(int)
        proxy.calls.refuse()
        proxy.calls.cut()
        with pytest.raises(StoreUnavailableError):
            breaker.flush()
        other = make_breaker(own_server.url, prefix, settings=QUIET)
        time.sleep(0.05)
        fail_once(other)
        fail_once(other)
        time.sleep(0.05)
        proxy.calls.accept()
        breaker.flush()
    assert Keys(client, prefix).field("failures") == "2"


def _try_to(work: Any) -> None:
    with suppress(StoreUnavailableError):
        work()


def test_successes_that_wait_do_not_end_the_streak_of_others(
    own_server: RunningServer, client: redis.Redis, prefix: str
) -> None:
    """Eight processes with pending successes begin to fail: exactly the threshold trips."""
    rules = {"failure_threshold": 20}
    with Crew(8, Assignment(own_server.url, prefix, config=rules, settings=QUIET)) as crew:
        for worker in crew.workers:
            eventually(
                lambda w=worker: asked(client, lambda: w.ask("calls", outcomes="s" * 10)) == 0,
                "trusted",
            )
        # Each failure brings the successes before it along, which are older than the first.
        time.sleep(0.01)
        seen = [crew.workers[number % 8].ask("calls", outcomes="f") for number in range(19)]
        assert Keys(client, prefix).field("state") == "closed"
        assert Keys(client, prefix).field("failures") == "19"
        seen.append(crew.workers[3].ask("calls", outcomes="f"))
    assert seen == ["f"] * 20
    assert Keys(client, prefix).transitions() == [("open", 1)]


def test_twenty_workers_of_which_none_fails_often_open_at_the_fleets_threshold(
    server: RunningServer, prefix: str
) -> None:
    """Three failing calls each at the most, all at once, threshold 50: fifty count."""
    keys = Keys(server.client(), prefix)
    rules = {"failure_threshold": 50, "timeout_seconds": 60.0}
    with Crew(20, Assignment(server.url, prefix, config=rules)) as crew:
        first = "".join(crew.ask_together("calls", outcomes="ff"))
        assert (first.count("f"), keys.field("state")) == (40, "closed")
        assert keys.field("failures") == "40"
        second = "".join(crew.ask_together("calls", outcomes="f"))
        assert second.count("f") + second.count("r") == 20
        assert second.count("f") >= 10
        assert keys.transitions() == [("open", 1)]
        assert (keys.field("failures"), keys.field("total_failures")) == ("50", "50")
        eventually(lambda: set(crew.ask_all("calls", outcomes="s")) == {"r"}, "all reject")


@pytest.mark.parametrize("how", ["flush", "get_stats", "manager"])
def test_figures_show_the_calls_that_their_reader_made(
    own_server: RunningServer, client: redis.Redis, prefix: str, how: str
) -> None:
    """Also while other threads call, fail, and take what gathered along with their failures."""
    settings = {"flush_interval": 0.005, "heartbeat_interval": 5.0}
    breaker = make_breaker(own_server.url, prefix, settings=settings, failure_threshold=NEVER)
    manager = CircuitBreakerManager()
    over, unseen = threading.Event(), []

    def read() -> int:
        if how == "manager":
            return int(manager.get_all_stats()["svc"]["successful_calls"])
        if how == "flush":
            breaker.flush()
            return _successes(client, prefix)
        return int(breaker.get_stats()["successful_calls"])

    def fail_on() -> None:
        while not over.is_set():
            fail_once(breaker)

    threads = [threading.Thread(target=fail_on) for _ in range(3)]
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for count in range(5, 1500, 5):
            for _ in range(5):
                breaker.call(int)
            if (seen := read()) < count:
                unseen.append((count, seen))
    finally:
        over.set()
        sys.setswitchinterval(switching)
        for thread in threads:
            thread.join()
    assert unseen == []
