"""Groups of consumers on real servers: each transition is handled once, whoever dies."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bb5_breaker import configure
from bb5_breaker._bus.group_birth import GroupBirth
from bb5_breaker._bus.group_places import Place
from bb5_breaker._bus.group_streams import GroupStreams
from bb5_breaker._bus.groups import GroupConsumer
from bb5_breaker._core.policy import StoreRules
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.entry_ids import BEGINNING, Since
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.events import Event
from bb5_breaker.exceptions import StoreError
from tests.support.buses import PATIENCE, Buses, Heard, wait_until, warnings_in
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer, start
from tests.support.transitions import flip, make_flipper
from tests.support.workers_groups import Members, consume, make_consumer

# Longer than anything that must not happen may take, and short enough to wait for.
SOON = 0.3
NEVER = 3600.0


class Begin:
    """Begins consumers that end with the test; nobody wakes them but their own rounds."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url, self._prefix = url, prefix
        self.made: list[GroupConsumer] = []

    def __call__(self, handler: Callable[[str, Event], object], **settings: Any) -> GroupConsumer:
        """Begin one in the group "pager" unless another is named."""
        group = settings.pop("group", "pager")
        url = settings.pop("url", self._url)
        consumer = make_consumer(
            url, self._prefix, group, handler, **({"claim_after": SOON} | settings)
        )
        consumer.start()
        self.made.append(consumer)
        return consumer


@pytest.fixture
def begin(server: RunningServer, prefix: str) -> Iterator[Begin]:
    """Consumers on each kind of server."""
    configure(server.url, prefix=prefix, store_timeout=5.0)
    made = Begin(server.url, prefix)
    yield made
    for consumer in made.made:
        assert consumer.stop(PATIENCE)


def ids_in(server: RunningServer, prefix: str, *services: str) -> list[str]:
    """Return the ids of all transitions in the histories."""
    with server.client() as client:
        return [
            f"{entry.decode()}:{service}"
            for service in services
            for entry, _ in client.xrange(CircuitKeys.of(prefix, service).events)
        ]


def pending_in(server: RunningServer, prefix: str, service: str, group: str = "pager") -> int:
    """Return how many transitions were given to somebody and not acknowledged."""
    with server.client() as client:
        return int(client.xpending(CircuitKeys.of(prefix, service).events, group)["pending"])


class TestOnceInTheGroup:
    """Many consumers, one call."""

    def test_four_processes_share_the_transitions(self, server: RunningServer, prefix: str) -> None:
        """200 transitions of 5 circuits: each is handled by exactly one of four processes."""
        configure(server.url, prefix=prefix, store_timeout=5.0)
        names = [f"{prefix}-{number}" for number in range(5)]
        breakers = [make_flipper(name, consistency="strict") for name in names]
        with Members(server.url, prefix, "pager", 4, claim_after=60.0) as members:
            for _ in range(40):
                for breaker in breakers:
                    flip(breaker, 1)
            # Long before a round: each was found because the bus woke somebody.
            wait_until(lambda: len(members.ids) >= 200)
            wait_until(lambda: not any(pending_in(server, prefix, name) for name in names))
            assert sorted(members.ids) == sorted(ids_in(server, prefix, *names))
            assert sum(bool(told) for told in members.told) > 1

    def test_two_groups_get_all_each(self, begin: Begin, prefix: str) -> None:
        """A group takes nothing from another."""
        first, second = Heard(), Heard()
        begin(first, group="a")
        begin(second, group="b")
        flip(make_flipper(f"{prefix}-x"), 3)
        wait_until(lambda: len(first.events) == len(second.events) == 3)
        assert first.states == second.states == ["open", "closed", "open"]
        assert first.topics == [f"{prefix}.{prefix}-x"] * 3

    def test_what_is_read_is_what_was_pushed(
        self, begin: Begin, buses: Buses, server: RunningServer, prefix: str
    ) -> None:
        """A consumer is given the same topic and event as a subscriber, woken by the bus."""
        bus, pushed, heard = buses.connect(), Heard(), Heard()
        bus.subscribe("circuit_breaker.*", pushed)
        with consume(bus, server.url, "pager", heard, claim_after=NEVER):
            flip(make_flipper(f"{prefix}-x"), 2)
            wait_until(lambda: len(heard.events) == len(pushed.events) == 2)
        assert heard.events == pushed.events
        # The consumer took back the subscription that woke it.
        assert bus.unsubscribe("circuit_breaker.*") == 1

    def test_only_the_circuits_that_are_wanted(self, begin: Begin, prefix: str) -> None:
        """Of the others nothing is told, nor is the group made there."""
        heard = Heard()
        consumer = begin(heard, wants=lambda service: service.endswith("-b"))
        one, other = make_flipper(f"{prefix}-a"), make_flipper(f"{prefix}-b")
        for times, find in ((1, lambda name: None), (2, consumer.wake)):
            for breaker in (one, other):
                flip(breaker, 1)
                # Circuits are read in the order in which they were found to have news.
                find(breaker.service_id)
            wait_until(lambda times=times: len(heard.events) >= times)
        assert heard.topics == [f"{prefix}.{prefix}-b"] * 2

    def test_an_ordinary_life_says_nothing(
        self, begin: Begin, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Streams without the group are no trouble, whatever words the circuit is named by."""
        service = f"{prefix}-CHATROOM-BUSY-LOADING"
        flip(make_flipper(service), 1)
        heard, consumers = Heard(), list[GroupConsumer]()
        for _ in range(3):
            consumers.append(begin(heard))
            for name in (f"{prefix}-none-READONLY", "no id", "}", 5, ["x"]):
                consumers[-1].wake(name)  # type: ignore[arg-type]
        flip(make_flipper(service), 1)
        wait_until(lambda: heard.states == ["closed"])
        assert all(each.stop(PATIENCE) for each in consumers)
        assert caplog.records == []

    def test_a_backlog_is_told_at_once(self, begin: Begin, prefix: str) -> None:
        """One look finds all of it, in its order."""
        flip(make_flipper(f"{prefix}-x"), 5)
        heard = Heard()
        begin(heard, since="beginning", claim_after=NEVER)
        wait_until(lambda: len(heard.events) == 5)
        assert heard.states == ["open", "closed"] * 2 + ["open"]


class TestFailures:
    """Consumers that die or raise."""

    def test_a_killed_consumer_is_replaced(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """What it was handling when it died is given to another after claim_after."""
        service = f"{prefix}-x"
        breaker = make_flipper(service)
        with Members(server.url, prefix, "pager", 1, hang=True, claim_after=SOON) as members:
            began = time.monotonic()
            flip(breaker, 1)
            wait_until(lambda: members.ids)
            members.kill(0)
        heard = Heard()
        consumer = begin(heard, claim_after=1.0)
        wait_until(lambda: heard.events)
        assert [heard.ids] == members.told
        wait_until(lambda: consumer.stats.handled == 1)
        assert consumer.stats.claimed == 1
        assert time.monotonic() - began > 0.99
        assert pending_in(server, prefix, service) == 0

    def test_nothing_is_claimed_before_its_time(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """A handler that is still at it keeps its transition from the others."""
        hold, entered, heard = threading.Event(), threading.Event(), Heard()

        def slow(topic: str, event: Event) -> None:
            entered.set()
            assert hold.wait(PATIENCE)

        first = begin(slow, claim_after=NEVER)
        flip(make_flipper(f"{prefix}-x"), 1)
        first.wake()
        assert entered.wait(PATIENCE)
        second = begin(heard, claim_after=NEVER)
        for _ in range(3):
            second.wake()
            time.sleep(0.05)
        flip(make_flipper(f"{prefix}-y"), 1)
        second.wake()
        wait_until(lambda: heard.events)
        hold.set()
        wait_until(lambda: first.stats.handled == 1)
        assert heard.topics == [f"{prefix}.{prefix}-y"]
        assert second.stats.claimed == 0

    def test_one_of_those_that_claim_at_once_gets_it(
        self, server: RunningServer, prefix: str
    ) -> None:
        """Both saw that it was overdue; the second finds it claimed, then acknowledged."""
        configure(server.url, prefix=prefix, store_timeout=5.0)
        service, key = f"{prefix}-x", CircuitKeys.of(prefix, f"{prefix}-x").events
        flip(make_flipper(service), 1)
        store = RedisStore(client_from_url(server.url, 5.0), StoreRules(prefix=prefix), server.url)
        birth = GroupBirth(store, "pager", Since.parse("beginning"))
        first, second = (GroupStreams(store, "pager", birth, print) for _ in range(2))
        with server.client() as client:
            client.xgroup_create(key, "pager", "0-0")
            client.xreadgroup("pager", "dead", {key: ">"}, count=1)
            start = Place(service, BEGINNING)
            wait_until(lambda: first.find_overdue(start, 200) is not None)
            place = second.find_overdue(start, 200)
            assert place is not None
            taken = first.claim(place, 200)
            assert taken is not None
            assert taken.attempt == 2
            assert second.claim(place, 60_000) is None
            assert first.acknowledge(place)
            assert second.claim(place, 0) is None
            assert not second.acknowledge(place)

    def test_a_poison_event_is_given_up(
        self,
        begin: Begin,
        server: RunningServer,
        prefix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """It is given three times, then acknowledged with one line; others are not held up."""
        calls: list[str] = []

        def handler(topic: str, event: Event) -> None:
            calls.append(event.metadata.event_id)
            if event.data["state"] == "open":
                raise ValueError("no such pager")

        consumer = begin(handler, max_deliveries=3, claim_after=0.1)
        flip(make_flipper(f"{prefix}-x"), 2)
        wait_until(lambda: consumer.stats.given_up == 1)
        wait_until(lambda: pending_in(server, prefix, f"{prefix}-x") == 0)
        opened, closed = ids_in(server, prefix, f"{prefix}-x")
        assert sorted(calls) == sorted([opened] * 3 + [closed])
        stats = consumer.stats
        assert (stats.handled, stats.failed, stats.claimed) == (1, 3, 2)
        (line,) = warnings_in(caplog, "gives up")
        assert line.levelno == logging.ERROR
        for part in (opened.partition(":")[0], f"{prefix}-x", "no such pager", "at most 3 times"):
            assert part in line.getMessage()

    def test_one_that_kills_its_consumers_is_given_up(
        self,
        begin: Begin,
        server: RunningServer,
        prefix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The second time nobody calls a handler with it."""
        with Members(server.url, prefix, "pager", 1, hang=True, claim_after=0.1) as members:
            flip(make_flipper(f"{prefix}-x"), 1)
            wait_until(lambda: members.ids)
            members.kill(0)
        heard = Heard()
        consumer = begin(heard, max_deliveries=1)
        wait_until(lambda: consumer.stats.given_up)
        assert heard.events == []
        assert "died" in warnings_in(caplog, "gives up")[0].getMessage()

    @pytest.mark.parametrize("count", [1, 3])
    def test_what_was_trimmed_while_pending_is_acknowledged(
        self,
        begin: Begin,
        server: RunningServer,
        prefix: str,
        caplog: pytest.LogCaptureFixture,
        count: int,
    ) -> None:
        """It can not be told; of all consumers one says so, and nothing stays pending."""
        service, key = f"{prefix}-x", CircuitKeys.of(prefix, f"{prefix}-x").events
        flip(make_flipper(service), 2)
        with server.client() as client:
            client.xgroup_create(key, "pager", "0-0")
            client.xreadgroup("pager", "dead", {key: ">"}, count=1)
            client.xtrim(key, maxlen=1, approximate=False)
        heard = Heard()
        consumers = [begin(heard, since="beginning") for _ in range(count)]
        wait_until(lambda: sum(each.stats.given_up for each in consumers))
        wait_until(lambda: pending_in(server, prefix, service) == 0 and heard.events)
        assert heard.states == ["closed"]
        assert len(warnings_in(caplog, "gone from the history")) == 1

    def test_a_foreign_stream_does_not_stop_the_others(
        self,
        begin: Begin,
        server: RunningServer,
        prefix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """One error names the key; the circuits beside it are told."""
        bad, good, heard = f"{prefix}-bad", f"{prefix}-good", Heard()
        key = CircuitKeys.of(prefix, bad).events
        flip(make_flipper(bad), 1)
        with server.client() as client:
            client.delete(key)
            client.set(key, "foreign", ex=60)
        consumer = begin(heard, claim_after=0.1)
        consumer.wake(bad)
        for _ in range(3):
            flip(make_flipper(good), 1)
        wait_until(lambda: len(heard.events) == 3)
        assert set(heard.topics) == {f"{prefix}.{good}"}
        (line,) = warnings_in(caplog, "holds a string")
        assert key.decode() in line.getMessage()


class TestBirth:
    """From where on a group is told."""

    def test_now_beginning_and_an_id(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """Of a history: nothing, all of it, or what follows one event."""
        service = f"{prefix}-x"
        flip(make_flipper(service), 3)
        ids = ids_in(server, prefix, service)
        now, beginning, later = Heard(), Heard(), Heard()
        begin(now, group="now")
        begin(beginning, group="beginning", since="beginning")
        begin(later, group="later", since=ids[1])
        flip(make_flipper(service), 1)
        ids = ids_in(server, prefix, service)
        wait_until(lambda: now.events and len(beginning.events) == 4 and len(later.events) == 2)
        assert (now.ids, beginning.ids, later.ids) == (ids[3:], ids, ids[2:])

    def test_a_circuit_that_is_born_while_all_are_away(self, begin: Begin, prefix: str) -> None:
        """Its first transition is told when somebody is back, as are those of the old ones."""
        heard = Heard()
        flip(make_flipper(f"{prefix}-old"), 1)
        assert begin(heard).stop(PATIENCE)
        flip(make_flipper(f"{prefix}-old"), 1)
        flip(make_flipper(f"{prefix}-new"), 1)
        # Its own start is of no account: the group was born before.
        begin(heard, since="now")
        wait_until(lambda: len(heard.events) == 2)
        assert sorted(heard.topics) == [f"{prefix}.{prefix}-new", f"{prefix}.{prefix}-old"]
        assert sorted(heard.states) == ["closed", "open"]

    def test_a_stream_that_was_lost_and_began_anew(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """Under a running consumer, which the lost group does not hold up."""
        service, heard = f"{prefix}-x", Heard()
        begin(heard)
        for times in (1, 2):
            flip(make_flipper(service), 1)
            wait_until(lambda times=times: len(heard.events) == times)
            with server.client() as client:
                client.delete(*CircuitKeys.of(prefix, service).all)
        assert heard.states == ["open", "open"]

    def test_no_key_is_left_without_an_end(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """The group's key lives for weeks, and a wake for no circuit makes no stream."""
        heard = Heard()
        consumer = begin(heard)
        consumer.wake(f"{prefix}-none")
        flip(make_flipper(f"{prefix}-x"), 1)
        wait_until(lambda: heard.events)
        with server.client() as client:
            keys = [*client.scan_iter(match=f"{prefix}*", count=1000)]
            assert f"{prefix}:group:pager".encode() in keys
            assert CircuitKeys.of(prefix, f"{prefix}-none").events not in keys
            assert all(client.ttl(key) > 0 for key in keys)
            assert client.ttl(f"{prefix}:group:pager") > 14 * 86_400

    def test_a_lost_birth_is_written_again(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """The earlier of two is right, also when another consumer had been quicker."""
        consumer, key = begin(Heard()), f"{prefix}:group:pager"
        with server.client() as client:
            born = client.get(key)
            for other in (None, "9000000000000-0"):
                client.delete(key)
                if other is not None:
                    client.set(key, other, ex=60)
                consumer.wake()
                wait_until(lambda: client.get(key) == born)

    def test_a_group_begun_anew_pages_nobody_for_old_incidents(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """What the group of long ago left unread or pending is acknowledged without a call."""
        service, heard = f"{prefix}-x", Heard()
        key = CircuitKeys.of(prefix, service).events
        flip(make_flipper(service), 2)
        with server.client() as client:
            client.xgroup_create(key, "pager", "0-0")
            client.xreadgroup("pager", "dead", {key: ">"}, count=1)
        begin(heard)
        flip(make_flipper(service), 1)
        wait_until(lambda: heard.events and pending_in(server, prefix, service) == 0)
        assert heard.ids == ids_in(server, prefix, service)[2:]

    def test_a_foreign_key_is_refused(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """The error names it, whatever it holds."""
        key = f"{prefix}:group:pager"
        with server.client() as client:
            for write in (lambda: client.set(key, "x", ex=60), lambda: client.lpush(key, "x")):
                client.delete(key)
                write()
                with pytest.raises(StoreError, match=key):
                    begin(Heard())


class TestConnections:
    """A store that comes and goes."""

    def test_a_store_that_is_down_at_the_start_is_told(
        self, own_server: RunningServer, prefix: str
    ) -> None:
        """By the error of the store, and no thread is left."""
        own_server.kill()
        consumer = make_consumer(own_server.url, prefix, "pager", Heard())
        with pytest.raises(StoreError, match="can not be reached"):
            consumer.start()
        assert consumer.stop(0.0)

    def test_cut_connections_lose_and_repeat_nothing(
        self,
        begin: Begin,
        server: RunningServer,
        prefix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What was handled while Redis was away is acknowledged then, and not handled again."""
        heard, flipper = Heard(), make_flipper(f"{prefix}-x")
        with Proxy(server.url) as proxy:

            def handler(topic: str, event: Event) -> None:
                heard(topic, event)
                proxy.calls.refuse()
                proxy.calls.cut()

            consumer = begin(handler, url=proxy.url, claim_after=60.0)
            for times in range(1, 4):
                flip(flipper, 1)
                consumer.wake(f"{prefix}-x")
                wait_until(lambda n=times: len(warnings_in(caplog, "goes on as soon as")) == n)
                assert pending_in(server, prefix, f"{prefix}-x") == 1
                proxy.calls.accept()
                wait_until(lambda n=times: len(warnings_in(caplog, "goes on, Redis")) == n)
                assert pending_in(server, prefix, f"{prefix}-x") == 0
            assert consumer.stop(PATIENCE)
        assert heard.ids == ids_in(server, prefix, f"{prefix}-x")

    def test_a_server_that_remembers_restarts(self, any_server: RunningServer, prefix: str) -> None:
        """What was pending and what nobody had read before is handled after; nothing twice."""
        heard = Heard()
        config = {"appendonly": "yes", "appendfsync": "always"}
        with start(any_server.kind, config=config) as server:
            configure(server.url, prefix=prefix, store_timeout=5.0)
            consumer = make_consumer(server.url, prefix, "pager", heard, claim_after=SOON)
            consumer.start()
            flip(make_flipper(f"{prefix}-x"), 1)
            wait_until(lambda: consumer.stats.handled == 1)
            for end in (server.kill, lambda: None):
                end()
                server.restart()
                flip(make_flipper(f"{prefix}-x", consistency="strict"), 1)
                expected = len(heard.events) + 1
                wait_until(lambda expected=expected: len(heard.events) >= expected)
            assert consumer.stop(PATIENCE)
            assert heard.ids == ids_in(server, prefix, f"{prefix}-x")

    def test_a_server_that_forgets_restarts(
        self, own_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The group begins again where it was born; the loss and the return are one line each."""
        heard = Heard()
        configure(own_server.url, prefix=prefix, store_timeout=5.0)
        with make_consumer(own_server.url, prefix, "pager", heard, claim_after=0.2) as consumer:
            consumer.start()
            own_server.kill()
            wait_until(lambda: warnings_in(caplog, "goes on as soon as it can"))
            own_server.restart()
            wait_until(lambda: warnings_in(caplog, "goes on, Redis"))
            flip(make_flipper(f"{prefix}-x", consistency="strict"), 1)
            wait_until(lambda: heard.events)
            assert own_server.client().exists(f"{prefix}:group:pager")
        assert len(warnings_in(caplog, "goes on as soon as it can")) == 1


class TestEnd:
    """How a consumer ends."""

    def test_stop_waits_for_the_handler(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """What it returns from is acknowledged, what comes later is left to others."""
        hold, entered, calls = threading.Event(), threading.Event(), list[str]()

        def slow(topic: str, event: Event) -> None:
            calls.append(event.metadata.event_id)
            entered.set()
            assert hold.wait(PATIENCE)

        consumer = begin(slow)
        flip(make_flipper(f"{prefix}-x"), 2)
        assert entered.wait(PATIENCE)
        assert not consumer.stop(0.05)
        hold.set()
        assert consumer.stop(PATIENCE)
        first, second = ids_in(server, prefix, f"{prefix}-x")
        assert (calls, pending_in(server, prefix, f"{prefix}-x")) == ([first], 0)
        heard = Heard()
        begin(heard)
        wait_until(lambda: heard.ids == [second])

    def test_a_handler_may_stop_its_consumer(self, begin: Begin, prefix: str) -> None:
        """It does not wait for itself, and is acknowledged."""
        answers: list[bool] = []
        consumer = begin(lambda topic, event: answers.append(consumer.stop()))
        flip(make_flipper(f"{prefix}-x"), 1)
        wait_until(lambda: answers)
        assert consumer.stop(PATIENCE)
        assert (answers, consumer.stats.handled) == ([True], 1)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_nothing_runs_in_a_forked_child(
        self, begin: Begin, server: RunningServer, prefix: str
    ) -> None:
        """It consumes nothing and ends at once; forked in a handler it acknowledges nothing."""
        service, exits, told = f"{prefix}-x", list[int](), list[str]()

        def handler(topic: str, event: Event) -> None:
            told.append(event.metadata.event_id)
            if event.data["state"] == "open":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    child = os.fork()
                if child == 0:
                    consumer.wake()
                    consumer.stop(PATIENCE)
                    # The copy of this thread leaves the handler, and must not acknowledge.
                    threading.Timer(0.5, os._exit, (7,)).start()
                    return
                exits.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                assert pending_in(server, prefix, service) == 1

        consumer = begin(handler, claim_after=60.0)
        flip(make_flipper(service), 1)
        consumer.wake()
        wait_until(lambda: consumer.stats.handled or consumer.stats.failed)
        assert exits in ([0], [7])
        flip(make_flipper(service), 1)
        consumer.wake()
        wait_until(lambda: consumer.stats.handled == 2)
        assert told == ids_in(server, prefix, service)

    def test_names_of_the_dead_are_removed(
        self, begin: Begin, server: RunningServer, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As far as they hold nothing: what one holds is lost with its name."""
        monkeypatch.setattr("bb5_breaker._bus.group_streams._FORGET_MS", 0)
        service = f"{prefix}-x"
        key = CircuitKeys.of(prefix, service).events
        flip(make_flipper(service), 1)
        with server.client() as client:
            client.xgroup_create(key, "pager", "0-0")
            client.xreadgroup("pager", "holds one", {key: ">"}, count=1)
            client.xgroup_createconsumer(key, "pager", "holds none")
            time.sleep(0.01)
            begin(Heard(), since="beginning", claim_after=NEVER)
            wait_until(lambda: len(client.xinfo_consumers(key, "pager")) == 1)
            assert client.xinfo_consumers(key, "pager")[0]["name"] == b"holds one"


@pytest.mark.parametrize(
    ("settings", "error", "part"),
    [
        ({"group": ""}, ValueError, "1 to 64"),
        ({"group": "a b"}, ValueError, "1 to 64"),
        ({"group": "x" * 65}, ValueError, "1 to 64"),
        ({"group": "pager\n"}, ValueError, "1 to 64"),
        ({"group": 5}, ValueError, "1 to 64"),
        ({"since": "yesterday"}, ValueError, "since"),
        ({"since": f"{2**64}-0"}, ValueError, "none is as great"),
        ({"since": "1-1:a b"}, ValueError, "service_id"),
        ({"claim_after": 0.0}, ValueError, "claim_after"),
        ({"max_deliveries": 0}, ValueError, "max_deliveries"),
        ({"handler": None}, TypeError, "callable"),
        ({"handler": lambda topic: None}, TypeError, "handler must take"),
    ],
)
def test_arguments_are_checked(settings: dict[str, Any], error: type[Exception], part: str) -> None:
    """The error names the bounds, before any server is asked."""
    given = {"group": "pager", "handler": Heard()} | settings
    with pytest.raises(error, match=part):
        make_consumer("unix:///nowhere", "p", given.pop("group"), given.pop("handler"), **given)


def test_a_coroutine_function_is_refused() -> None:
    """It would be called and never run, and the transition be acknowledged."""

    async def handler(topic: str, event: Event) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="coroutine"):
        make_consumer("unix:///nowhere", "p", "pager", handler)
