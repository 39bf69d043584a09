"""A TCP proxy before a server, that can fail where a network can.

It tells the connections apart on which somebody subscribed (`feeds`) from all others (`calls`),
and does to each kind what a test asks for. One thread carries everything.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from .proxy_lanes import Connection, Lane, end_of_frame

_CHUNK = 65_536
_MOST_HELD = 16 * 1024 * 1024


class Proxy:
    """Stands before a server for as long as its `with` block lasts.

    Args:
        url: URL of the server, redis:// or unix://.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._is_over = False
        self.connects = 0
        self.feeds = Lane(self._lock, self._mouth)
        self.calls = Lane(self._lock, self._mouth)
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL to use in the place of the server's."""
        parts = self._target
        credentials, at, _ = parts.netloc.rpartition("@")
        netloc = f"{credentials}{at}127.0.0.1:{self._listener.getsockname()[1]}"
        path = "" if parts.scheme == "unix" else parts.path
        return urlunsplit(("redis", netloc, path, parts.query, ""))

    def close(self) -> None:
        """End all connections and the thread."""
        with self._lock:
            self._is_over = True
            self._mouth.send(b"!")
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy does not end"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._is_over:
            events = self._selector.select(self._pause())
            with self._lock:
                for key, _ in events:
                    self._serve(key)
                for lane in (self.feeds, self.calls):
                    lane.deliver(time.monotonic())
        with self._lock:
            for lane in (self.feeds, self.calls):
                for one in list(lane.connections):
                    self._forget(one)
            self._selector.close()
            for end in (self._listener, self._ear, self._mouth):
                end.close()

    def _pause(self) -> float:
        with self._lock:
            now = time.monotonic()
            due = [lane.due_in(now) for lane in (self.feeds, self.calls)]
        return max(0.0, min([seconds for seconds in due if seconds is not None], default=1.0))

    def _serve(self, key: selectors.SelectorKey) -> None:
        if key.fileobj is self._listener:
            self._admit()
        elif key.fileobj is self._ear:
            self._ear.recv(_CHUNK)
        elif isinstance(key.data, Connection):
            self._carry(key.data, key.fileobj is key.data.client)

    def _admit(self) -> None:
        client, _ = self._listener.accept()
        self.connects += 1
        try:
            server = self._connect()
        except OSError:
            client.close()
            return
        one = Connection(client, server)
        if not self.calls.take_in(one):
            one.cut()
        for end in (client, server):
            self._selector.register(end, selectors.EVENT_READ, one)

    def _connect(self) -> socket.socket:
        if self._target.scheme == "unix":
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target.path)
            except OSError:
                server.close()
                raise
            return server
        return socket.create_connection(
            (self._target.hostname or "127.0.0.1", self._target.port or 6379), 1.0
        )

    def _carry(self, one: Connection, is_from_client: bool) -> None:
        if one.client.fileno() < 0:
            return  # forgotten in this very round
        try:
            chunk = (one.client if is_from_client else one.server).recv(_CHUNK)
        except OSError:
            chunk = b""
        if one.is_abandoned and (chunk or not is_from_client):
            self._ignore(one, is_from_client and bool(chunk))
        elif not chunk and is_from_client and one.requests:
            # What it has sent is on its way all the same.
            one.is_left = True
            self._selector.unregister(one.client)
        elif not chunk or one.waiting_bytes() > _MOST_HELD:
            self._forget(one)
        elif is_from_client:
            self._take_request(one, chunk)
        else:
            self._take_replies(one, chunk)

    def _take_request(self, one: Connection, chunk: bytes) -> None:
        if one in self.calls.connections and one.subscribes(chunk):
            self.calls.connections.discard(one)
            if not self.feeds.take_in(one):
                one.cut()
                return
        lane = self.calls if one in self.calls.connections else self.feeds
        lane.pass_on(one, chunk)

    def _take_replies(self, one: Connection, chunk: bytes) -> None:
        if one in self.calls.connections:
            self.calls.put(one, chunk)
            return
        one.unframed += chunk
        while end := end_of_frame(one.unframed):
            self.feeds.put(one, one.unframed[:end])
            one.unframed = one.unframed[end:]

    def _ignore(self, one: Connection, is_alive: bool) -> None:
        """The server's end is over, and what the client sends goes nowhere."""
        if not is_alive:
            self._selector.unregister(one.server)

    def _forget(self, one: Connection) -> None:
        for end in (one.client, one.server):
            with suppress(KeyError):
                self._selector.unregister(end)
        self.feeds.connections.discard(one)
        self.calls.connections.discard(one)
        one.close()
