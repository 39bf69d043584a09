"""The connections that scripts run over: few, the latest used first, shared fairly.

redis-py's client spends more time around a command than the server on the script: it packs
word by word, keeps a queue of connections under a lock, and prepares retries that we never
want. Its connections do the talking here; only the way to them is shorter.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any
from weakref import WeakSet

from redis.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from bb5_breaker._store.forks import renew_in_children

__all__ = ["ConnectionStack", "pack_words"]


def pack_words(*words: bytes | str | int) -> bytes:
    """Return a request in the protocol of Redis."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class _Waiter:
    """A request that waits for a connection, and the connection when it has been handed one."""

    __slots__ = ("connection", "ready")

    def __init__(self) -> None:
        self.connection: AbstractConnection | None = None
        self.ready = threading.Lock()
        self.ready.acquire()


class _Shelf:
    """The connections of one process."""

    __slots__ = ("free", "lock", "made", "waiting")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.free: list[AbstractConnection] = []
        self.waiting: deque[_Waiter] = deque()
        # Weak: a connection that an interrupt took out of our hands is not counted.
        self.made: WeakSet[AbstractConnection] = WeakSet()


class ConnectionStack:
    """Lends each request a connection of its own. Thread-safe; a child process starts anew.

    When all are busy a freed one is handed to the request that waits for longest: were they
    left to whoever comes first, a thread could starve, and its time-out would pass for a dead
    server.

    Args:
        pool: Makes the connections.
        most: Connections at the most; further requests wait for one.
        timeout: Seconds to wait for one.
    """

    def __init__(self, pool: ConnectionPool, most: int, timeout: float) -> None:
        self._pool = pool
        self._most = most
        self._timeout = timeout
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without connections; those of a parent are left alone."""
        self._shelf = _Shelf()

    def ask(self, request: bytes) -> Any:
        """Send a request and return its reply.

        Raises:
            RedisError: The server refused, or can not be reached.
            OSError: Likewise.
        """
        shelf = self._shelf
        connection = self._take(shelf)
        try:
            _prepare(connection)
            connection.send_packed_command([request], check_health=False)
            reply = _read(connection)
        except BaseException:
            # Whatever came between the request and its reply: a late reply must
            # never be taken for the answer to the next request.
            connection.disconnect()
            _give_back(shelf, connection)
            raise
        _give_back(shelf, connection)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def close(self) -> None:
        """Close the connections that are not in use; they open again when needed."""
        shelf = self._shelf
        with shelf.lock:
            for connection in shelf.free:
                connection.disconnect()

    def _take(self, shelf: _Shelf) -> AbstractConnection:
        with shelf.lock:
            if shelf.free:
                return shelf.free.pop()
            if len(shelf.made) < self._most:
                connection: AbstractConnection = self._pool.connection_class(
                    **self._pool.connection_kwargs
                )
                shelf.made.add(connection)
                return connection
            waiter = _Waiter()
            shelf.waiting.append(waiter)
        try:
            waiter.ready.acquire(timeout=self._timeout)
        except BaseException:
            if _leave(shelf, waiter) and waiter.connection is not None:
                _give_back(shelf, waiter.connection)
            raise
        if waiter.connection is None and not _leave(shelf, waiter):
            raise RedisConnectionError(
                f"all {self._most} connections were busy for {self._timeout:g} s"
            )
        assert waiter.connection is not None
        return waiter.connection


def _give_back(shelf: _Shelf, connection: AbstractConnection) -> None:
    with shelf.lock:
        if not shelf.waiting:
            shelf.free.append(connection)
            return
        waiter = shelf.waiting.popleft()
        waiter.connection = connection
        waiter.ready.release()


def _leave(shelf: _Shelf, waiter: _Waiter) -> bool:
    """Stop waiting; True when a connection was handed over in this very moment."""
    with shelf.lock:
        if waiter.connection is not None:
            return True
        shelf.waiting.remove(waiter)
        return False


def _prepare(connection: AbstractConnection) -> None:
    """Open a connection, or open it again when the server closed it or it has something unread."""
    connection.connect()
    try:
        clean = not connection.can_read()
    except (RedisError, OSError):
        clean = False
    if not clean:
        connection.disconnect()
        connection.connect()


def _read(connection: AbstractConnection) -> Any:
    """Return the reply; an error that the server answered as well, as it is read to its end."""
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
