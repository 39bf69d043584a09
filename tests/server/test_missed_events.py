"""Transitions are told once each and in order, whatever the connection was doing meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import redis

from bb5_breaker import CircuitBreaker, configure
from bb5_breaker._bus.globs import matches
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker.event_bus import EventType, RedisEventBus, Topics
from bb5_breaker.events import CircuitEvent, Event, decode_event, encode_event
from bb5_breaker.exceptions import RedisConnectionError
from tests.support.buses import PATIENCE, Buses, Heard, drain, make_event, wait_until, warnings_in
from tests.support.loops import Run
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer, start
from tests.support.transitions import Crew, flip, make_flipper


def generations(heard: Heard, service: str) -> list[int]:
    """Return the generations that were heard of one circuit, in the order of hearing."""
    return [
        event.generation
        for _, event in heard.events
        if isinstance(event, CircuitEvent) and event.service == service
    ]


def cut_off(bus: RedisEventBus, proxy: Proxy) -> None:
    """Take a bus its connection, until the proxy accepts one again."""
    proxy.feeds.refuse()
    proxy.feeds.cut()
    wait_until(lambda: not bus.is_connected)


@pytest.fixture
def flipper(server: RunningServer, prefix: str) -> CircuitBreaker:
    """A circuit that opens and closes on command."""
    configure(server.url, prefix=prefix, store_timeout=5.0)
    return make_flipper(f"{prefix}-a")


@pytest.fixture
def proxy(server: RunningServer) -> Iterator[Proxy]:
    """A way to the server that can be cut."""
    with Proxy(server.url) as made:
        yield made


def test_what_is_read_is_what_was_pushed(
    buses: Buses, flipper: CircuitBreaker, server: RunningServer, prefix: str
) -> None:
    """The event of a history equals the one that was published, in both wire forms."""
    bus, pushed, read = buses.connect(), Heard(), Heard()
    for count, event_format in ((3, "msgpack"), (6, "json")):
        configure(server.url, prefix=prefix, event_format=event_format, store_timeout=5.0)
        bus.subscribe("circuit_breaker.*", pushed)
        flip(flipper, 3)
        wait_until(lambda: len(pushed.events) >= count)  # noqa: B023
        bus.unsubscribe("circuit_breaker.*", pushed)
    bus.subscribe("circuit_breaker.*", read, since="beginning")
    wait_until(lambda: len(read.events) >= 6)
    assert read.events == pushed.events
    assert bus.stats.replayed == 6
    # The id of an event is the id of its entry.
    key = CircuitKeys.of(prefix, flipper.service_id).events
    entries = server.client().xrange(key)
    assert [f"{entry.decode()}:{flipper.service_id}" for entry, _ in entries] == pushed.ids


def test_a_cut_connection_loses_nothing(
    buses: Buses, flipper: CircuitBreaker, proxy: Proxy
) -> None:
    """What happened while it was cut is told when it is back, before what happens next."""
    bus, heard = buses.connect(url=proxy.url), Heard()
    bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
    flip(flipper, 2)
    wait_until(lambda: len(heard.events) == 2)
    cut_off(bus, proxy)
    flip(flipper, 5)
    proxy.feeds.accept()
    wait_until(lambda: len(heard.events) == 7)
    flip(flipper, 1)
    wait_until(lambda: len(heard.events) == 8)
    drain(bus)
    assert generations(heard, flipper.service_id) == list(range(1, 9))
    assert (bus.stats.replayed, bus.stats.missed, bus.stats.dropped) == (5, 0, 0)


def test_a_circuit_made_during_an_outage_is_told_of(
    buses: Buses, flipper: CircuitBreaker, proxy: Proxy, prefix: str
) -> None:
    """Also one that nobody had heard of when the connection was lost."""
    bus, heard = buses.connect(url=proxy.url), Heard()
    bus.subscribe(Topics.CIRCUIT_BREAKER_STATE, heard)
    cut_off(bus, proxy)
    young = make_flipper(f"{prefix}-young")
    flip(young, 3)
    proxy.feeds.accept()
    wait_until(lambda: len(heard.events) == 3)
    assert generations(heard, young.service_id) == [1, 2, 3]


def test_a_lost_message_is_made_good_by_the_next(
    buses: Buses, flipper: CircuitBreaker, proxy: Proxy
) -> None:
    """A gap in the generations is enough; the connection need not be lost."""
    bus, heard = buses.connect(url=proxy.url, heartbeat_interval=30.0), Heard()
    bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
    flip(flipper, 1)
    wait_until(lambda: len(heard.events) == 1)
    proxy.feeds.drop_message()
    flip(flipper, 1)
    wait_until(lambda: proxy.feeds.dropped == 1)
    flip(flipper, 1)
    wait_until(lambda: len(heard.events) == 3)
    assert generations(heard, flipper.service_id) == [1, 2, 3]
    assert bus.stats.reconnects == 0


def test_what_a_history_lost_is_announced(
    buses: Buses, flipper: CircuitBreaker, proxy: Proxy, server: RunningServer, prefix: str
) -> None:
    """An event says how many transitions are missing, and in which state the circuit was."""
    bus, heard = buses.connect(url=proxy.url), Heard()
    bus.subscribe(Topics.CIRCUIT_BREAKER_STATE, heard)
    flip(flipper, 2)
    wait_until(lambda: len(heard.events) == 2)
    cut_off(bus, proxy)
    flip(flipper, 6)
    server.client().xtrim(
        CircuitKeys.of(prefix, flipper.service_id).events, maxlen=2, approximate=False
    )
    proxy.feeds.accept()
    wait_until(lambda: len(heard.events) == 5)
    gap = heard.events[2][1]
    assert gap.metadata.event_type is EventType.EVENTS_MISSED
    assert (gap.data["missed"], gap.data["service"]) == (4, flipper.service_id)
    assert gap.data["state"] in ("open", "closed")
    assert generations(heard, flipper.service_id) == [1, 2, 7, 8]
    assert bus.stats.missed == 4


def test_a_history_that_lost_its_end_is_not_told_again(
    buses: Buses, flipper: CircuitBreaker, server: RunningServer, proxy: Proxy, prefix: str
) -> None:
    """A replica that took over may lack the last transitions; those before were told once."""
    bus, heard = buses.connect(url=proxy.url), Heard()
    bus.subscribe("circuit_breaker.*", heard)
    flip(flipper, 3)
    wait_until(lambda: len(heard.events) == 3)
    cut_off(bus, proxy)
    flip(flipper, 5)
    proxy.feeds.accept()
    wait_until(lambda: len(heard.events) == 8)
    key = CircuitKeys.of(prefix, flipper.service_id).events
    client = server.client()
    ((last, _),) = client.xrevrange(key, count=1)
    client.xdel(key, last)
    cut_off(bus, proxy)
    proxy.feeds.accept()
    wait_until(lambda: bus.is_connected)
    flip(flipper, 1)
    wait_until(lambda: 9 in generations(heard, flipper.service_id))
    assert len(heard.ids) == len(set(heard.ids))


def test_what_was_told_long_ago_is_not_told_again(
    buses: Buses, flipper: CircuitBreaker, proxy: Proxy
) -> None:
    """However many messages came before the connection was lost."""
    bus, heard = buses.connect(url=proxy.url), Heard()
    bus.subscribe("circuit_breaker.*", heard)
    flip(flipper, 150)
    wait_until(lambda: len(heard.events) == 150)
    cut_off(bus, proxy)
    flip(flipper, 2)
    proxy.feeds.accept()
    wait_until(lambda: 152 in generations(heard, flipper.service_id))
    assert generations(heard, flipper.service_id) == list(range(1, 153))


def test_a_history_that_is_gone_is_announced(
    buses: Buses, flipper: CircuitBreaker, proxy: Proxy, server: RunningServer, prefix: str
) -> None:
    """A circuit that was deleted and made again begins anew; nothing is told twice."""
    bus, heard = buses.connect(url=proxy.url), Heard()
    bus.subscribe(Topics.CIRCUIT_BREAKER_STATE, heard)
    flip(flipper, 3)
    wait_until(lambda: len(heard.events) == 3)
    flipper.forget()
    flip(flipper, 3)
    wait_until(lambda: len(heard.events) == 6)
    drain(bus)
    assert generations(heard, flipper.service_id)[3:] == [1, 2, 3]
    assert len(set(heard.ids)) == 6


def test_a_circuit_that_is_not_listed_is_caught_up_with_all_the_same(
    buses: Buses, flipper: CircuitBreaker, proxy: Proxy, server: RunningServer, prefix: str
) -> None:
    """Who has heard of it knows it, whatever became of the list."""
    bus, heard = buses.connect(url=proxy.url), Heard()
    bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
    flip(flipper, 1)
    wait_until(lambda: len(heard.events) == 1)
    cut_off(bus, proxy)
    flip(flipper, 2)
    server.client().delete(f"{prefix}:services")
    proxy.feeds.accept()
    wait_until(lambda: len(heard.events) == 3)
    assert generations(heard, flipper.service_id) == [1, 2, 3]


def test_a_circuit_that_is_not_listed_yet_is_not_told_of_twice(
    own_buses: Buses, own_server: RunningServer, prefix: str
) -> None:
    """Subscriptions that come and go meanwhile do not make the bus forget what it has told."""
    configure(own_server.url, prefix=prefix, store_timeout=5.0)
    flipper, bus, heard = make_flipper(f"{prefix}-a"), own_buses.connect(), Heard()
    bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
    flip(flipper, 1)
    own_server.client().delete(f"{prefix}:services")
    for generation in range(2, 8):
        bus.subscribe(f"circuit_breaker.other-{generation}", Heard())
        flip(flipper, 1)
        own_server.client().delete(f"{prefix}:services")
    wait_until(lambda: len(heard.events) >= 7)
    drain(bus)
    assert generations(heard, flipper.service_id) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("topic", ["circuit_breaker.*", "circuit_breaker.state", "exact"])
def test_since_the_beginning_and_since_an_event(
    buses: Buses, flipper: CircuitBreaker, prefix: str, topic: str
) -> None:
    """Old transitions come first, then what happens; each once."""
    bus, now, old, later = buses.connect(), Heard(), Heard(), Heard()
    topic = Topics.circuit_breaker_topic(flipper.service_id) if topic == "exact" else topic
    flip(flipper, 6)
    bus.subscribe(topic, now)
    bus.subscribe(topic, old, since="beginning")
    wait_until(lambda: len(old.events) == 6)
    bus.subscribe(topic, later, since=old.ids[3])
    flip(flipper, 2)
    wait_until(lambda: len(old.events) == 8 and len(later.events) == 4 and len(now.events) == 2)
    drain(bus)
    assert generations(old, flipper.service_id) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert generations(later, flipper.service_id) == [5, 6, 7, 8]
    assert generations(now, flipper.service_id) == [7, 8]


def test_old_and_new_transitions_keep_their_order_while_both_come(
    buses: Buses, flipper: CircuitBreaker
) -> None:
    """A subscriber from the beginning, in the midst of transitions, misses and repeats none."""
    bus, subscribers = buses.connect(), [Heard() for _ in range(10)]
    thread = threading.Thread(target=flip, args=(flipper, 300))
    thread.start()
    for heard in subscribers:
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard, since="beginning")
        time.sleep(0.01)
    thread.join()
    for heard in subscribers:
        wait_until(lambda heard=heard: len(heard.events) >= 300)  # type: ignore[misc]
    drain(bus)
    for heard in subscribers:
        assert generations(heard, flipper.service_id) == list(range(1, 301))


@pytest.mark.parametrize("met", ["heard", "missed", "listed"])
def test_a_circuit_that_is_listed_late_is_told_from_its_beginning(
    buses: Buses,
    flipper: CircuitBreaker,
    server: RunningServer,
    prefix: str,
    proxy: Proxy,
    met: str,
) -> None:
    """Its first transitions may be older than its entry in the list that a subscriber reads."""
    bus, now, old = buses.connect(url=proxy.url), Heard(), Heard()
    flip(flipper, 2)
    server.client().delete(f"{prefix}:services")
    bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, now)
    bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, old, since="beginning")
    drain(bus)
    if met == "missed":
        cut_off(bus, proxy)
    if met != "heard":
        server.client().zadd(f"{prefix}:services", {flipper.service_id: 1e15})
    if met == "listed":
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, Heard(), since="beginning")
        wait_until(lambda: len(old.events) == 2)
    flip(flipper, 1)
    proxy.feeds.accept()
    wait_until(lambda: bus.is_connected)
    flip(flipper, 3)
    wait_until(lambda: len(now.events) >= 4 and len(old.events) >= 6)
    drain(bus)
    assert generations(now, flipper.service_id) == [3, 4, 5, 6]
    assert generations(old, flipper.service_id) == [1, 2, 3, 4, 5, 6]


def test_a_long_history_does_not_overflow_the_queue(
    buses: Buses, flipper: CircuitBreaker, server: RunningServer, prefix: str, proxy: Proxy
) -> None:
    """It is read as handlers take it, so nothing of it is dropped."""
    configure(server.url, prefix=prefix, history_limit=2000, store_timeout=5.0)
    bus, heard, live = buses.connect(queue_size=10, url=proxy.url), Heard(), Heard()
    bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, live)
    cut_off(bus, proxy)
    flip(flipper, 500)
    proxy.feeds.accept()
    wait_until(lambda: bus.is_connected)
    bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard, since="beginning")
    wait_until(lambda: len(live.events) >= 500 and len(heard.events) >= 500)
    assert generations(live, flipper.service_id) == list(range(1, 501))
    assert generations(heard, flipper.service_id) == list(range(1, 501))
    assert bus.stats.dropped == 0


@pytest.mark.parametrize(
    ("since", "message"),
    [
        ("yesterday", "since must be 'now', 'beginning' or an id"),
        (7, "since must be 'now', 'beginning' or the id of an event, got int"),
        ("", "no event id"),
        ("1-2-3", "no event id"),
        (f"{2**64}-1", "none is as great as"),
    ],
)
def test_a_malformed_since_is_refused(bus: RedisEventBus, since: Any, message: str) -> None:
    """Before anything is subscribed."""
    with pytest.raises(ValueError, match=message):
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, Heard(), since=since)
    assert bus.unsubscribe(Topics.CIRCUIT_BREAKER_ALL) == 0


def test_only_circuits_have_a_history(bus: RedisEventBus) -> None:
    """For other topics there is only now."""
    with pytest.raises(ValueError, match="only transitions of circuits have a history"):
        bus.subscribe("task.*", Heard(), since="beginning")


class OnAnyServer:
    """For what does not depend on the kind of server."""

    @pytest.fixture
    def buses(self, any_server: RunningServer, prefix: str) -> Iterator[Buses]:
        """Buses with a prefix of the test's own."""
        made = Buses(any_server.url, prefix)
        yield made
        made.close()

    @pytest.fixture
    def flipper(self, any_server: RunningServer, prefix: str) -> CircuitBreaker:
        """A circuit that opens and closes on command."""
        configure(any_server.url, prefix=prefix, store_timeout=5.0)
        return make_flipper(f"{prefix}-a")


class TestForgeries(OnAnyServer):
    """A message is never believed over the store."""

    @staticmethod
    def forge(event: Event, **changes: Any) -> bytes:
        """Return a message like that of a transition, with other data."""
        envelope = event.to_dict()
        envelope["data"].update(changes)
        envelope["metadata"]["event_id"] = changes.get("event_id", envelope["metadata"]["event_id"])
        return msgpack.packb(envelope)

    def test_a_forged_message_hides_no_transition(
        self, buses: Buses, flipper: CircuitBreaker, any_server: RunningServer, prefix: str
    ) -> None:
        """Whatever generations and ids it claims, all that truly happens is told, once."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        flip(flipper, 1)
        wait_until(lambda: len(heard.events) == 1)
        client, service = any_server.client(), flipper.service_id
        true = heard.events[0][1]
        for generation, place in ((2, "9" * 13 + "-2"), (50, "9" * 13 + "-50"), (7, "1-7")):
            forged = self.forge(true, generation=generation, event_id=f"{place}:{service}")
            client.publish(f"{prefix}.{service}", forged)
        flip(flipper, 200)
        key = CircuitKeys.of(prefix, service).events
        stored = {f"{entry.decode()}:{service}" for entry, _ in client.xrange(key)}
        wait_until(lambda: stored <= set(heard.ids))
        drain(bus)
        told = [name for name in heard.ids if name in stored]
        assert told == sorted(stored, key=lambda name: int(name.split("-")[1].split(":")[0]))
        # One of them claimed to be the very next; that one can not be told from the truth.
        assert len(heard.ids) - len(told) <= 1

    def test_what_the_store_does_not_know_is_left_out(
        self, buses: Buses, flipper: CircuitBreaker, any_server: RunningServer, prefix: str
    ) -> None:
        """A transition from nowhere is counted, not told."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        flip(flipper, 1)
        wait_until(lambda: len(heard.events) == 1)
        forged = self.forge(heard.events[0][1], generation=9, event_id=f"1-9:{flipper.service_id}")
        any_server.client().publish(f"{prefix}.{flipper.service_id}", forged)
        drain(bus)
        assert (len(heard.events), bus.stats.malformed) == (1, 1)

    def test_events_of_others_on_the_channels_are_told_as_they_come(
        self, bus: RedisEventBus, prefix: str
    ) -> None:
        """Without an epoch it is no script's: a breaker elsewhere, or the first implementation."""
        heard = Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        metadata = make_event("old-1").metadata
        data = {"service": "svc", "state": "open", "failure_count": 5, "last_failure": None}
        opened = {
            **CircuitEvent(metadata, data).to_dict()["metadata"],
            "event_type": "circuit.opened",
        }
        event = decode_event(json.dumps({"metadata": opened, "data": data}).encode())
        for _ in range(2):
            bus.publish("circuit_breaker.svc", event)
        drain(bus)
        assert heard.ids == ["old-1", "old-1"]


class TestHostileMessages(OnAnyServer):
    """What is no event is skipped and counted, with one warning, and the subscriber lives on."""

    def test_a_flood_of_them(
        self,
        buses: Buses,
        flipper: CircuitBreaker,
        any_server: RunningServer,
        prefix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Truncated, nested, of wrong types, huge, no text, of unknown versions and kinds."""
        bus, heard = buses.connect(), Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        true = encode_event(make_event("1", service="x"))
        bad = [
            b"",
            b"{",
            true[:-3],
            b"\xc1",
            b"\xdd\xff\xff\xff\xff",
            b"\x91" * 16_000,
            b"\xdc\x40\x00" * 1000,
            b"[" * 10_000,
            b'{"metadata": {}, "data": 3}',
            b'{"metadata": {"event_id": 1}, "data": {}}',
            b"\xff\xfe\x00",
            b"x" * 10_000_000,
            msgpack.packb(
                {
                    "metadata": {"event_id": "1", "event_type": "circuit.opened", "timestamp": "t"},
                    "data": {"service": "a b"},
                }
            ),
            msgpack.packb(
                {
                    "metadata": {"event_id": "1", "event_type": "circuit.opened", "timestamp": "t"},
                    "data": {"service": "x", "state": "ajar"},
                }
            ),
            msgpack.packb(
                {
                    "metadata": {"event_id": "1", "event_type": "circuit.opened", "timestamp": "t"},
                    "data": {"service": "x", "state": "open", "generation": -1},
                }
            ),
        ]
        client, channel = any_server.client(), f"{prefix}.{flipper.service_id}"
        for payload in bad:
            client.publish(channel, payload)
        flip(flipper, 1)
        wait_until(lambda: len(heard.events) == 1)
        assert bus.stats.malformed == len(bad)
        assert len(warnings_in(caplog, "it is no event")) == 1
        assert bus.stats.reconnects == 0

    def test_unknown_versions_and_kinds_are_told(
        self, bus: RedisEventBus, any_server: RunningServer, prefix: str
    ) -> None:
        """A newer publisher is no enemy: what can be read is handed on as it is."""
        heard = Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        metadata = {
            "event_id": "1",
            "event_type": "circuit.melted",
            "timestamp": "t",
            "version": "9.0",
        }
        payload = msgpack.packb({"metadata": metadata, "data": {"service": "x", "new": [1]}})
        any_server.client().publish(f"{prefix}.x", payload)
        wait_until(lambda: len(heard.events) == 1)
        event = heard.events[0][1]
        assert (event.metadata.event_type, event.metadata.version) == ("circuit.melted", "9.0")


class TestRights:
    """Without the right to read histories the bus still tells what is pushed."""

    def test_a_history_that_may_not_be_read(
        self, own_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One log line names the right; pushes arrive."""
        admin = own_server.client()
        admin.execute_command(
            "ACL", "SETUSER", "deaf", "on", ">secret", "~*", "&*", "+@all", "-xrange", "-xrevrange"
        )
        configure(own_server.url, prefix=prefix, store_timeout=5.0)
        flipper = make_flipper(f"{prefix}-a")
        url = own_server.admin_url.replace("://", "://deaf:secret@", 1)
        made = Buses(url, prefix)
        flip(flipper, 1)
        try:
            bus, heard = made.connect(), Heard()
            bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
            flip(flipper, 3)
            wait_until(lambda: len(heard.events) == 3)
            assert generations(heard, flipper.service_id) == [2, 3, 4]
            assert len(warnings_in(caplog, "ACL SETUSER")) == 1
        finally:
            made.close()

    def test_the_right_to_subscribe_is_enough_to_hear(
        self, own_server: RunningServer, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A user who may do nothing else is told what is pushed."""
        rights = ("&*", "+subscribe", "+psubscribe", "+unsubscribe", "+punsubscribe", "+ping")
        own_server.client().execute_command("ACL", "SETUSER", "ear", "on", ">secret", *rights)
        configure(own_server.url, prefix=prefix, store_timeout=5.0)
        flipper = make_flipper(f"{prefix}-a")
        made = Buses(own_server.admin_url.replace("://", "://ear:secret@", 1), prefix)
        flip(flipper, 2)
        try:
            bus, heard = made.connect(), Heard()
            bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
            flip(flipper, 3)
            wait_until(lambda: len(heard.events) == 3)
            assert generations(heard, flipper.service_id) == [3, 4, 5]
            assert len([line for line in caplog.records if line.levelno >= logging.ERROR]) == 1
        finally:
            made.close()

    def test_a_damaged_list_of_services(
        self,
        own_buses: Buses,
        own_server: RunningServer,
        prefix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A foreign key in its place takes nothing from those who listen but the past."""
        configure(own_server.url, prefix=prefix, store_timeout=5.0)
        own_server.client().set(f"{prefix}:services", "foreign")
        flipper, bus, heard = make_flipper(f"{prefix}-a"), own_buses.connect(), Heard()
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        flip(flipper, 3)
        wait_until(lambda: len(heard.events) == 3)
        assert generations(heard, flipper.service_id) == [1, 2, 3]
        assert warnings_in(caplog, f"{prefix}:services holds a string")


class TestInEventLoops(OnAnyServer):
    """Coroutine handlers, and events to iterate over."""

    def test_a_coroutine_handler_runs_in_its_loop(
        self, run: Run, buses: Buses, flipper: CircuitBreaker
    ) -> None:
        """One event at a time, in order, in the loop that subscribed it."""
        bus = buses.connect()

        async def main() -> None:
            loop, heard = asyncio.get_running_loop(), list[int]()
            running = 0

            async def handler(topic: str, event: Event) -> None:
                nonlocal running
                running += 1
                assert (asyncio.get_running_loop(), running) == (loop, 1)
                await asyncio.sleep(0)
                running -= 1
                heard.append(event.data["generation"])

            await bus.subscribe_async(Topics.CIRCUIT_BREAKER_ALL, handler)
            await asyncio.to_thread(flip, flipper, 20)
            while len(heard) < 20:
                await asyncio.sleep(0.002)
            assert heard == list(range(1, 21))
            assert bus.unsubscribe(Topics.CIRCUIT_BREAKER_ALL, handler) == 1
            await asyncio.to_thread(flip, flipper, 2)
            await asyncio.to_thread(drain, bus)
            assert len(heard) == 20

        run(main())

    def test_a_coroutine_handler_that_raises_goes_on(
        self, run: Run, buses: Buses, flipper: CircuitBreaker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged, once a minute for each kind of error, and counted."""
        bus = buses.connect()

        async def main() -> None:
            calls = 0

            async def handler(topic: str, event: Event) -> None:
                nonlocal calls
                calls += 1
                raise KeyError("no")

            await bus.subscribe_async(Topics.CIRCUIT_BREAKER_ALL, handler)
            await asyncio.to_thread(flip, flipper, 3)
            while calls < 3:
                await asyncio.sleep(0.002)
            bus.unsubscribe_all()

        run(main())
        assert bus.stats.handler_errors == 3
        assert len([line for line in caplog.records if line.levelno == logging.ERROR]) == 1

    def test_a_handler_of_a_closed_loop_is_taken_out(
        self, run: Run, buses: Buses, flipper: CircuitBreaker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With one warning; others are told as before."""
        bus, heard = buses.connect(), Heard()

        async def handler(topic: str, event: Event) -> None:
            """Do nothing."""

        async def main() -> None:
            await bus.subscribe_async(Topics.CIRCUIT_BREAKER_ALL, handler)

        run(main())
        bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
        flip(flipper, 3)
        wait_until(lambda: len(heard.events) == 3)
        assert len(warnings_in(caplog, "event loop of handler")) == 1
        assert bus.unsubscribe(Topics.CIRCUIT_BREAKER_ALL, handler) == 0

    def test_events_can_be_iterated_over(
        self, run: Run, buses: Buses, flipper: CircuitBreaker
    ) -> None:
        """From the beginning, then as they happen, until the loop is left."""
        bus = buses.connect()
        flip(flipper, 3)

        async def main() -> None:
            heard = []
            async with bus.listen(Topics.CIRCUIT_BREAKER_ALL, since="beginning") as events:
                async for event in events:
                    heard.append(event.data["generation"])
                    if len(heard) == 3:
                        await asyncio.to_thread(flip, flipper, 2)
                    if len(heard) == 5:
                        break
            assert heard == [1, 2, 3, 4, 5]
            with pytest.raises(StopAsyncIteration):
                await anext(events)

        run(main())
        assert bus.unsubscribe(Topics.CIRCUIT_BREAKER_ALL) == 0

    def test_a_loop_that_was_left_is_forgotten(
        self, run: Run, buses: Buses, flipper: CircuitBreaker
    ) -> None:
        """Without ``async with`` its subscription ends with the next event."""
        bus, heard = buses.connect(), Heard()

        async def main() -> None:
            async for _ in bus.listen(Topics.CIRCUIT_BREAKER_ALL, since="beginning"):
                break
            gc.collect()
            bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
            await asyncio.to_thread(flip, flipper, 1)
            await asyncio.to_thread(wait_until, lambda: len(heard.events) == 1)

        flip(flipper, 1)
        run(main())
        assert bus.unsubscribe(Topics.CIRCUIT_BREAKER_ALL) == 1

    def test_closing_wakes_the_one_who_waits(self, run: Run, bus: RedisEventBus) -> None:
        """And a second task that waits at the same time is refused."""

        async def main() -> None:
            events = bus.listen(Topics.CIRCUIT_BREAKER_ALL)
            waiting = asyncio.ensure_future(anext(events))
            while not bus.is_connected or waiting.done():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.1)
            with pytest.raises(RuntimeError, match="another task waits"):
                await anext(events)
            await events.aclose()
            with pytest.raises(StopAsyncIteration):
                await waiting

        run(main())

    def test_cancelled_waiting_loses_nothing(
        self, run: Run, buses: Buses, flipper: CircuitBreaker
    ) -> None:
        """Time-outs around the next event are harmless."""
        bus = buses.connect()

        async def main() -> None:
            async with bus.listen(Topics.CIRCUIT_BREAKER_ALL) as events:
                for _ in range(3):
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(anext(events), 0.01)
                await asyncio.to_thread(flip, flipper, 2)
                assert [(await anext(events)).data["generation"] for _ in range(2)] == [1, 2]

        run(main())

    def test_a_loop_that_is_behind_is_told_what_it_missed(
        self, run: Run, buses: Buses, flipper: CircuitBreaker
    ) -> None:
        """The oldest are dropped, counted, and an event stands for them."""
        bus, other = buses.connect(), Heard()

        async def main() -> None:
            async with bus.listen(Topics.CIRCUIT_BREAKER_ALL, queue_size=3) as events:
                bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, other)
                # The loop stands still meanwhile. It is waited for once, not for each event.
                begun = time.monotonic()
                flip(flipper, 10)
                wait_until(lambda: len(other.events) == 10)
                assert time.monotonic() - begun < 5.0
                first = await anext(events)
                assert first.metadata.event_type is EventType.EVENTS_MISSED
                assert first.data["missed"] == 7
                assert [(await anext(events)).data["generation"] for _ in range(3)] == [8, 9, 10]

        run(main())
        assert bus.stats.dropped == 7

    def test_listening_needs_a_loop(self, bus: RedisEventBus) -> None:
        """There is nothing to wake otherwise."""
        with pytest.raises(RuntimeError):
            bus.listen(Topics.CIRCUIT_BREAKER_ALL)


def test_patterns_are_read_as_redis_reads_them(any_server: RunningServer, prefix: str) -> None:
    """For events that came through no subscription; compared with the server's own matching."""
    chance = random.Random(7)
    client = any_server.client()
    letters = "abc*?[]^-\\."
    names = ["".join(chance.choices("abc].-^\\*[", k=chance.randint(0, 4))) for _ in range(60)]
    with client.pubsub() as raw:
        patterns = sorted(
            {"".join(chance.choices(letters, k=chance.randint(1, 6))) for _ in range(300)}
        )
        raw.psubscribe(*[f"{prefix}{pattern}" for pattern in patterns])
        for _ in patterns:
            assert raw.get_message(timeout=PATIENCE)
        for name in names:
            channel = f"{prefix}{name}"
            count = client.publish(channel, "x")
            heard = set()
            while len(heard) < count:
                message = raw.get_message(timeout=PATIENCE)
                assert message is not None
                heard.add(message["pattern"])
            ours = {
                pattern.encode()
                for pattern in (f"{prefix}{each}" for each in patterns)
                if matches(pattern.encode(), channel.encode())
            }
            assert ours == heard, name


def test_a_fleet_in_bad_weather(own_server: RunningServer, prefix: str) -> None:
    """1,000 transitions of 20 circuits by 8 processes; 50 cuts, one restart: each told once."""
    with start(own_server.kind, config={"appendonly": "yes", "appendfsync": "always"}) as server:
        configure(server.url, prefix=prefix, store_timeout=5.0)
        with Proxy(server.url) as proxy:
            made = Buses(proxy.url, prefix)
            try:
                bus, heard = made.connect(), Heard()
                bus.subscribe(Topics.CIRCUIT_BREAKER_ALL, heard)
                with Crew(server.url, prefix, workers=8, circuits=20, transitions=1300) as crew:
                    for cut in range(50):
                        reached = 18 * cut
                        wait_until(lambda: crew.made >= reached or crew.is_done)  # noqa: B023
                        wait_until(lambda: bus.is_connected)
                        proxy.feeds.cut()
                        wait_until(lambda: bus.stats.reconnects > cut)  # noqa: B023
                        if cut == 25:
                            server.kill()
                            server.restart()
                    assert not crew.is_done
                    crew.wait()
                stored = stored_events(server.client(), prefix)
                count = sum(map(len, stored.values()))
                assert count >= 1000
                wait_until(lambda: len(heard.events) >= count, "all transitions are told")
                drain(bus)
                told: dict[str, list[str]] = {}
                for _, event in heard.events:
                    told.setdefault(event.data["service"], []).append(event.metadata.event_id)
                assert told == stored
                assert bus.stats.reconnects >= 50
            finally:
                made.close()


def stored_events(client: redis.Redis, prefix: str) -> dict[str, list[str]]:
    """Return the event ids in the histories, by service."""
    found: dict[str, list[str]] = {}
    for key in client.scan_iter(f"{prefix}:*:events"):
        for _, fields in client.xrange(key):
            found.setdefault(fields[b"service"].decode(), []).append(fields[b"event_id"].decode())
    return found


class TestGroupsOfTheBus(OnAnyServer):
    """What :meth:`RedisEventBus.consume` adds to consumers; see test_consumer_groups.py."""

    def test_one_of_several_processes_is_told(
        self, buses: Buses, flipper: CircuitBreaker, prefix: str
    ) -> None:
        """Two buses, one group: each transition once, within the time of a message."""
        heard = Heard()
        consumers = [buses.connect().consume("pager", heard) for _ in range(2)]
        flip(flipper, 20)
        wait_until(lambda: len(heard.events) == 20)
        assert sorted(generations(heard, flipper.service_id)) == list(range(1, 21))
        assert sum(each.stats.handled for each in consumers) == 20
        assert set(heard.topics) == {f"{prefix}.{flipper.service_id}"}

    def test_it_ends_with_the_bus_or_its_block(self, buses: Buses, flipper: CircuitBreaker) -> None:
        """And what happens meanwhile is told to the next consumer of the group."""
        bus, heard = buses.connect(), Heard()
        with bus.consume("pager", heard, f"circuit_breaker.{flipper.service_id}"):
            flip(flipper, 1)
            wait_until(lambda: len(heard.events) == 1)
        assert bus.unsubscribe_all() is None
        flip(flipper, 2)
        bus.consume("pager", heard)
        wait_until(lambda: len(heard.events) == 3)
        bus.disconnect()
        flip(flipper, 1)
        bus.connect()
        assert generations(heard, flipper.service_id) == [1, 2, 3]
        bus.consume("pager", heard)
        wait_until(lambda: len(heard.events) == 4)

    def test_wrong_arguments_are_refused(self, bus: RedisEventBus) -> None:
        """Before anything runs."""
        with pytest.raises(ValueError, match="brings none"):
            bus.consume("pager", Heard(), "task.*")
        with pytest.raises(ValueError, match="group"):
            bus.consume("two words", Heard())
        with pytest.raises(TypeError):
            bus.consume("pager", "handler")  # type: ignore[arg-type]
        assert bus.unsubscribe(Topics.CIRCUIT_BREAKER_ALL) == 0
        bus.disconnect()
        with pytest.raises(RedisConnectionError, match="call connect"):
            bus.consume("pager", Heard())
