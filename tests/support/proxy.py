"""A TCP proxy before a server, that can fail where a network can.

It tells the connections apart on which somebody subscribed (`feeds`) from all others (`calls`),
and does to each kind what a test asks for. One thread carries everything.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65_536
_MOST_HELD = 16 * 1024 * 1024
_SEND_SECONDS = 5.0
_TAIL = 32


class Lane:
    """What is done to the connections of one kind. Each order is in force when it returns."""

    def __init__(self, lock: threading.RLock, waker: socket.socket) -> None:
        self._lock = lock
        self._waker = waker
        self._connections: set[_Connection] = set()
        self._to_drop = 0
        self._is_held = False
        self._is_refusing = False
        self._delay = 0.0
        self.dropped = 0

    @property
    def count(self) -> int:
        """How many connections there are."""
        with self._lock:
            return len(self._connections)

    @property
    def held_messages(self) -> int:
        """How many publications wait to be released, or for their delay to pass."""
        with self._lock:
            return sum(one.waiting_messages() for one in self._connections)

    @property
    def held_bytes(self) -> int:
        """How much of what the server sent waits."""
        with self._lock:
            return sum(one.waiting_bytes() for one in self._connections)

    def hold(self) -> None:
        """Keep back what the server sends; what the clients send goes on."""
        with self._lock:
            self._is_held = True

    def release(self) -> None:
        """Pass on what was kept back, and what comes."""
        with self._lock:
            self._is_held = False
            self._waker.send(b"!")

    def delay(self, seconds: float) -> None:
        """Have all that the server sends from now on take longer."""
        with self._lock:
            self._delay = seconds

    def cut(self) -> None:
        """End the connections; what was kept back is lost."""
        with self._lock:
            for one in self._connections:
                one.cut()

    def refuse(self) -> None:
        """End each new connection as soon as it shows that it is of this kind."""
        with self._lock:
            self._is_refusing = True

    def accept(self) -> None:
        """Let new ones be again."""
        with self._lock:
            self._is_refusing = False

    def drop_message(self) -> None:
        """Lose the next publication on its way, and nothing else."""
        with self._lock:
            self._to_drop += 1

    def _due_in(self, now: float) -> float | None:
        if self._is_held:
            return None
        waiting = [one.replies[0][0] - now for one in self._connections if one.replies]
        return min(waiting, default=None)

    def _take_in(self, one: _Connection) -> bool:
        self._connections.add(one)
        return not self._is_refusing

    def _put(self, one: _Connection, frame: bytes) -> None:
        if self._to_drop and _is_message(frame):
            self._to_drop -= 1
            self.dropped += 1
        else:
            one.replies.append((time.monotonic() + self._delay, frame))

    def _deliver(self, now: float) -> None:
        if self._is_held:
            return
        for one in self._connections:
            while one.replies and one.replies[0][0] <= now:
                one.send_to_client(one.replies.popleft()[1])


class _Connection:
    """One client's connection, and ours to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.replies: deque[tuple[float, bytes]] = deque()
        self.unframed = b""
        self.tail = b""
        for end in (client, server):
            end.settimeout(_SEND_SECONDS)

    def waiting_messages(self) -> int:
        return sum(_is_message(frame) for _, frame in self.replies)

    def waiting_bytes(self) -> int:
        return sum(len(frame) for _, frame in self.replies)

    def subscribes(self, chunk: bytes) -> bool:
        seen = self.tail + chunk
        self.tail = seen[-_TAIL:]
        return b"\r\nSUBSCRIBE\r\n" in seen or b"\r\nPSUBSCRIBE\r\n" in seen

    def send_to_client(self, data: bytes) -> None:
        try:
            self.client.sendall(data)
        except OSError:
            self.cut()

    def cut(self) -> None:
        self.replies.clear()
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.client.close()
        self.server.close()


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
                    lane._deliver(time.monotonic())
        with self._lock:
            for lane in (self.feeds, self.calls):
                for one in list(lane._connections):
                    self._forget(one)
            self._selector.close()
            for end in (self._listener, self._ear, self._mouth):
                end.close()

    def _pause(self) -> float:
        with self._lock:
            now = time.monotonic()
            due = [lane._due_in(now) for lane in (self.feeds, self.calls)]
        return max(0.0, min([seconds for seconds in due if seconds is not None], default=1.0))

    def _serve(self, key: selectors.SelectorKey) -> None:
        if key.fileobj is self._listener:
            self._admit()
        elif key.fileobj is self._ear:
            self._ear.recv(_CHUNK)
        elif isinstance(key.data, _Connection):
            self._carry(key.data, key.fileobj is key.data.client)

    def _admit(self) -> None:
        client, _ = self._listener.accept()
        self.connects += 1
        try:
            server = self._connect()
        except OSError:
            client.close()
            return
        one = _Connection(client, server)
        if not self.calls._take_in(one):
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

    def _carry(self, one: _Connection, is_from_client: bool) -> None:
        if one.client.fileno() < 0:
            return  # forgotten in this very round
        try:
            chunk = (one.client if is_from_client else one.server).recv(_CHUNK)
        except OSError:
            chunk = b""
        if not chunk or one.waiting_bytes() > _MOST_HELD:
            self._forget(one)
        elif is_from_client:
            self._take_request(one, chunk)
        else:
            self._take_replies(one, chunk)

    def _take_request(self, one: _Connection, chunk: bytes) -> None:
        if one in self.calls._connections and one.subscribes(chunk):
            self.calls._connections.discard(one)
            if not self.feeds._take_in(one):
                one.cut()
                return
        try:
            one.server.sendall(chunk)
        except OSError:
            one.cut()

    def _take_replies(self, one: _Connection, chunk: bytes) -> None:
        if one in self.calls._connections:
            self.calls._put(one, chunk)
            return
        one.unframed += chunk
        while end := _end_of_frame(one.unframed):
            self.feeds._put(one, one.unframed[:end])
            one.unframed = one.unframed[end:]

    def _forget(self, one: _Connection) -> None:
        for end in (one.client, one.server):
            self._selector.unregister(end)
        self.feeds._connections.discard(one)
        self.calls._connections.discard(one)
        one.close()


def _is_message(frame: bytes) -> bool:
    return frame.startswith((b"*3\r\n$7\r\nmessage\r\n", b"*4\r\n$8\r\npmessage\r\n"))


def _end_of_frame(data: bytes, start: int = 0) -> int:
    """Return where the RESP2 reply that begins at `start` ends; 0 while it is not all there."""
    line = data.find(b"\r\n", start)
    if line < 0:
        return 0
    end, kind = line + 2, data[start : start + 1]
    if kind == b"$":
        size = int(data[start + 1 : line])
        end += size + 2 if size >= 0 else 0
    elif kind == b"*":
        for _ in range(int(data[start + 1 : line])):
            end = _end_of_frame(data, end)
            if not end:
                return 0
    return end if end <= len(data) else 0
