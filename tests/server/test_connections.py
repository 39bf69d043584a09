"""The connections that scripts run over, on real servers and under real faults."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import redis

from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.connections import ConnectionStack
from bb5_breaker._store.packing import pack_words
from tests.support.servers import RunningServer, discover, start

PING = pack_words("PING")


def make_stack(url: str, most: int = 4, timeout: float = 5.0) -> ConnectionStack:
    """Return connections to a server."""
    return ConnectionStack(client_from_url(url, timeout).connection_pool, most, timeout)


@pytest.fixture
def own_server() -> Iterator[RunningServer]:
    """A server that a test may harm."""
    server = start(discover()[0])
    yield server
    server.stop()


def test_words_of_all_kinds_arrive_unchanged(server: RunningServer, prefix: str) -> None:
    """Bytes, text and numbers, also empty and binary ones, are packed as the server reads them."""
    stack = make_stack(server.admin_url)
    words = [b"", b"\r\n$3\r\n", "käse", 12, -7, b"\x00\xff"]
    stack.ask(pack_words("RPUSH", f"{prefix}:list", *words))
    assert stack.ask(pack_words("LRANGE", f"{prefix}:list", 0, -1)) == [
        b"",
        b"\r\n$3\r\n",
        "käse".encode(),
        b"12",
        b"-7",
        b"\x00\xff",
    ]
    stack.close()


def test_one_thread_uses_one_connection(any_server: RunningServer) -> None:
    """Requests one after the other share a connection."""
    stack = make_stack(any_server.admin_url)
    assert {stack.ask(pack_words("CLIENT", "ID")) for _ in range(20)} == {
        stack.ask(pack_words("CLIENT", "ID"))
    }
    stack.close()


def test_connections_are_bounded_and_shared(any_server: RunningServer) -> None:
    """Thirty-two threads get by with four connections, and each gets its own answers."""
    stack = make_stack(any_server.admin_url, most=4)
    wrong: list[object] = []
    ids: set[int] = set()

    def ask_often(name: str) -> None:
        for number in range(50):
            word = f"{name}-{number}".encode()
            if (got := stack.ask(pack_words("ECHO", word))) != word:
                wrong.append((got, word))
        ids.add(stack.ask(pack_words("CLIENT", "ID")))

    threads = [threading.Thread(target=ask_often, args=(f"t{i}",)) for i in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 1 <= len(ids) <= 4
    stack.close()


def test_waiting_for_a_connection_is_bounded(any_server: RunningServer) -> None:
    """When all are busy a request gives up after the time to wait, and says so."""
    pool = client_from_url(any_server.admin_url, 30.0).connection_pool
    stack = ConnectionStack(pool, most=1, timeout=0.05)
    busy = threading.Thread(target=stack.ask, args=(pack_words("BLPOP", "nothing", 1),))
    busy.start()
    deadline = time.monotonic() + 10
    while not stack._shelf.living and time.monotonic() < deadline:
        time.sleep(0.001)
    with pytest.raises(redis.ConnectionError, match=r"all 1 connections were busy for 0\.05 s"):
        stack.ask(PING)
    busy.join()
    assert stack.ask(PING) == b"PONG"
    stack.close()


def test_a_late_reply_is_never_taken_for_the_next(own_server: RunningServer) -> None:
    """After a time-out the connection is given up: the frozen server's old reply goes nowhere."""
    stack = make_stack(own_server.admin_url, timeout=0.2)
    assert stack.ask(pack_words("ECHO", "before")) == b"before"
    own_server.pause()
    try:
        with pytest.raises((redis.TimeoutError, TimeoutError)):
            stack.ask(pack_words("ECHO", "lost"))
    finally:
        own_server.resume()
    for number in range(20):
        assert stack.ask(pack_words("ECHO", f"n{number}")) == f"n{number}".encode()


def test_an_interrupted_read_gives_the_connection_up(own_server: RunningServer) -> None:
    """A signal handler that raises in the middle of a reply leaves nothing unread behind."""
    stack = make_stack(own_server.admin_url)
    stack.ask(PING)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            stack.ask(pack_words("BLPOP", "nothing", 3))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert stack.ask(pack_words("ECHO", "next")) == b"next"


def test_closed_connections_are_opened_again_unseen(own_server: RunningServer) -> None:
    """A server that dropped the connection, or was restarted, is reached by the next request."""
    stack = make_stack(own_server.admin_url)
    stack.ask(PING)
    with own_server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert stack.ask(PING) == b"PONG"
    own_server.restart()
    assert stack.ask(PING) == b"PONG"


def test_a_refused_command_leaves_the_connection_usable(any_server: RunningServer) -> None:
    """An error reply is raised, and the same connection answers the next request."""
    stack = make_stack(any_server.admin_url, most=1)
    number = stack.ask(pack_words("CLIENT", "ID"))
    with pytest.raises(redis.ResponseError):
        stack.ask(pack_words("NOSUCHCOMMAND"))
    assert stack.ask(pack_words("CLIENT", "ID")) == number
    stack.close()


def test_a_child_makes_connections_of_its_own(any_server: RunningServer) -> None:
    """After a fork the child does not talk over its parent's socket."""
    stack = make_stack(any_server.admin_url)
    number = stack.ask(pack_words("CLIENT", "ID"))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(stack.ask(pack_words("CLIENT", "ID"))).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reader, 100)) != number
    assert stack.ask(pack_words("CLIENT", "ID")) == number
    os.close(reader)
    os.close(writer)
    stack.close()
