"""What a proxy does to its connections: the two kinds of them, and the faults of each."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import deque
from contextlib import suppress

_SEND_SECONDS = 5.0
_TAIL = 32


class Lane:
    """What is done to the connections of one kind. Each order is in force when it returns."""

    def __init__(self, lock: threading.RLock, waker: socket.socket) -> None:
        self._lock = lock
        self._waker = waker
        self.connections: set[Connection] = set()
        self._to_drop = 0
        self._is_held = False
        self._is_refusing = False
        self._is_stalled = False
        self._delay = 0.0
        self._pause = 0.0
        self._share_cut = 0.0
        self._chance = random.Random(0)
        self.dropped = 0
        self.lost = 0

    @property
    def count(self) -> int:
        """How many connections there are."""
        with self._lock:
            return len(self.connections)

    @property
    def held_messages(self) -> int:
        """How many publications wait to be released, or for their delay to pass."""
        with self._lock:
            return sum(one.waiting_messages() for one in self.connections)

    @property
    def held_bytes(self) -> int:
        """How much of what the server sent waits."""
        with self._lock:
            return sum(one.waiting_bytes() for one in self.connections)

    @property
    def stalled_bytes(self) -> int:
        """How much of what the clients sent waits."""
        with self._lock:
            return sum(len(chunk) for one in self.connections for chunk in one.requests)

    def hold(self) -> None:
        """Keep back what the server sends; what the clients send goes on."""
        with self._lock:
            self._is_held = True

    def release(self) -> None:
        """Pass on what was kept back, and what comes."""
        with self._lock:
            self._is_held = False
            self._waker.send(b"!")

    def stall(self) -> None:
        """Keep back what the clients send; what the server sends goes on."""
        with self._lock:
            self._is_stalled = True

    def flow(self) -> None:
        """Pass on to the server what was kept back, and what comes."""
        with self._lock:
            self._is_stalled = False
            for one in list(self.connections):
                one.forward()

    def abandon(self) -> None:
        """Have the present connections say nothing any more, in either direction, and stay up.

        The server sees them end; the clients are told nothing. New ones work.
        """
        with self._lock:
            for one in self.connections:
                one.abandon()

    def trickle(self, pause: float) -> None:
        """Have what the server sends from now on come byte by byte, with pauses in seconds."""
        with self._lock:
            self._pause = pause

    def lose(self, share: float, seed: int = 0) -> None:
        """Cut a connection at that share of the requests, before or after the server has one."""
        with self._lock:
            self._share_cut = share
            self._chance = random.Random(seed)

    def delay(self, seconds: float) -> None:
        """Have all that the server sends from now on take longer."""
        with self._lock:
            self._delay = seconds

    def cut(self) -> None:
        """End the connections; what was kept back is lost."""
        with self._lock:
            for one in self.connections:
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

    def due_in(self, now: float) -> float | None:
        """Return in how many seconds something is to be delivered; None when nothing is."""
        if self._is_held:
            return None
        waiting = [one.replies[0][0] - now for one in self.connections if one.replies]
        return min(waiting, default=None)

    def take_in(self, one: Connection) -> bool:
        """Take a connection; False when it is to be ended at once."""
        self.connections.add(one)
        return not self._is_refusing

    def put(self, one: Connection, frame: bytes) -> None:
        """Take what the server sent."""
        if self._to_drop and _is_message(frame):
            self._to_drop -= 1
            self.dropped += 1
            return
        due = time.monotonic() + self._delay
        pieces = [frame]
        if self._pause:
            pieces = [frame[index : index + 1] for index in range(len(frame))]
            due = max(due, one.replies[-1][0] if one.replies else due)
        one.replies.extend((due + self._pause * n, piece) for n, piece in enumerate(pieces))

    def pass_on(self, one: Connection, chunk: bytes) -> None:
        """Take what a client sent."""
        if self._is_stalled:
            one.requests.append(chunk)
            return
        unlucky = self._share_cut and self._chance.random() < self._share_cut
        if unlucky:
            self.lost += 1
        if not (unlucky and self._chance.random() < 0.5):
            one.send_to_server(chunk)
        if unlucky:
            one.cut()

    def deliver(self, now: float) -> None:
        """Send the clients what is due."""
        if self._is_held:
            return
        for one in self.connections:
            while one.replies and one.replies[0][0] <= now:
                one.send_to_client(one.replies.popleft()[1])


class Connection:
    """One client's connection, and ours to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.replies: deque[tuple[float, bytes]] = deque()
        self.requests: list[bytes] = []
        self.is_abandoned = False
        self.is_left = False
        self.unframed = b""
        self.tail = b""
        for end in (client, server):
            end.settimeout(_SEND_SECONDS)

    def waiting_messages(self) -> int:
        """Return how many publications wait for the client."""
        return sum(_is_message(frame) for _, frame in self.replies)

    def waiting_bytes(self) -> int:
        """Return how much waits for the client."""
        return sum(len(frame) for _, frame in self.replies)

    def subscribes(self, chunk: bytes) -> bool:
        """Return True when the client subscribes with these words."""
        seen = self.tail + chunk
        self.tail = seen[-_TAIL:]
        return b"\r\nSUBSCRIBE\r\n" in seen or b"\r\nPSUBSCRIBE\r\n" in seen

    def forward(self) -> None:
        """Send the server what was kept back."""
        self.send_to_server(b"".join(self.requests))
        self.requests.clear()
        if self.is_left:
            with suppress(OSError):
                self.server.shutdown(socket.SHUT_WR)

    def send_to_client(self, data: bytes) -> None:
        """Send to the client, or end the connection."""
        try:
            self.client.sendall(data)
        except OSError:
            self.cut()

    def send_to_server(self, data: bytes) -> None:
        """Send to the server, or end the connection."""
        try:
            self.server.sendall(data)
        except OSError:
            self.cut()

    def abandon(self) -> None:
        """End it on the server's side and tell the client nothing."""
        self.is_abandoned = True
        self.replies.clear()
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End it on both sides."""
        self.replies.clear()
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both sockets."""
        self.client.close()
        self.server.close()


def _is_message(frame: bytes) -> bool:
    return frame.startswith((b"*3\r\n$7\r\nmessage\r\n", b"*4\r\n$8\r\npmessage\r\n"))


def end_of_frame(data: bytes, start: int = 0) -> int:
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
            end = end_of_frame(data, end)
            if not end:
                return 0
    return end if end <= len(data) else 0
