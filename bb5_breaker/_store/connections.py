"""The connections that scripts run over: few, the latest used first, shared fairly.

redis-py's client spends more time around a command than the server on the script: it packs
word by word, keeps a queue of connections under a lock, and prepares retries that we never
want. Its connections do the talking here; only the way to them is shorter.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any
from weakref import finalize

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
    """The connections of one process, and leave to make as many as there may be."""

    __slots__ = ("free", "lock", "permits", "waiting")

    def __init__(self, most: int) -> None:
        self.lock = threading.Lock()
        self.free: deque[AbstractConnection] = deque()
        self.waiting: deque[_Waiter] = deque()
        self.permits: deque[None] = deque([None] * most)


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
        self._shelf = _Shelf(self._most)

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
            for connection in list(shelf.free):
                connection.disconnect()

    def _take(self, shelf: _Shelf) -> AbstractConnection:
        if not shelf.waiting:
            # Without a lock: the deque's own operations are atomic.
            try:
                return shelf.free.pop()
            except IndexError:
                pass
        made = self._make(shelf)
        return made if made is not None else self._wait(shelf)

    def _make(self, shelf: _Shelf) -> AbstractConnection | None:
        try:
            shelf.permits.pop()
        except IndexError:
            return None
        connection: AbstractConnection = self._pool.connection_class(**self._pool.connection_kwargs)
        # A connection that an interrupt took out of our hands makes room for another.
        finalize(connection, shelf.permits.append, None)
        return connection

    def _wait(self, shelf: _Shelf) -> AbstractConnection:
        waiter = _Waiter()
        shelf.waiting.append(waiter)
        # One may have been given back just before this request was seen to wait.
        _hand_over(shelf)
        try:
            waiter.ready.acquire(timeout=self._timeout)
        except BaseException:
            handed = _leave(shelf, waiter)
            if handed is not None:
                _give_back(shelf, handed)
            raise
        connection = waiter.connection
        if connection is None:
            connection = _leave(shelf, waiter)
        if connection is None:
            raise RedisConnectionError(
                f"all {self._most} connections were busy for {self._timeout:g} s"
            )
        return connection


def _give_back(shelf: _Shelf, connection: AbstractConnection) -> None:
    shelf.free.append(connection)
    if shelf.waiting:
        _hand_over(shelf)


def _hand_over(shelf: _Shelf) -> None:
    """Hand free connections to those that wait, the longest first."""
    with shelf.lock:
        while shelf.waiting and shelf.free:
            try:
                connection = shelf.free.pop()
            except IndexError:
                return
            waiter = shelf.waiting.popleft()
            waiter.connection = connection
            waiter.ready.release()


def _leave(shelf: _Shelf, waiter: _Waiter) -> AbstractConnection | None:
    """Stop waiting; return the connection that was handed over in this very moment."""
    with shelf.lock:
        if waiter.connection is None:
            shelf.waiting.remove(waiter)
        return waiter.connection


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
