"""The connections that scripts run over: few, the latest used first.

redis-py's client spends more time around a command than the server on the script: it packs
word by word, keeps a queue of connections under a lock, and prepares retries that we never
want. Its connections do the talking here; only the way to them is shorter.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Any
from weakref import WeakSet

from redis.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

__all__ = ["ConnectionStack", "pack_words"]


def pack_words(*words: bytes | str | int) -> bytes:
    """Return a request in the protocol of Redis."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class ConnectionStack:
    """Lends each request a connection of its own. Thread-safe; a child process starts anew.

    Args:
        pool: Makes the connections.
        most: Connections at the most; further requests wait for one.
        timeout: Seconds to wait for one.
    """

    def __init__(self, pool: ConnectionPool, most: int, timeout: float) -> None:
        self._pool = pool
        self._most = most
        self._timeout = timeout
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._free: deque[AbstractConnection] = deque()
        # Weak: a connection that an interrupt took out of our hands is not counted.
        self._made: WeakSet[AbstractConnection] = WeakSet()
        self._changed = threading.Condition(threading.Lock())
        self._waiting = 0

    def ask(self, request: bytes) -> Any:
        """Send a request and return its reply.

        Raises:
            RedisError: The server refused, or can not be reached.
            OSError: Likewise.
        """
        if self._pid != os.getpid():
            self._start()
        try:
            connection = self._free.pop()
        except IndexError:
            connection = self._make_or_wait()
        try:
            _prepare(connection)
            connection.send_packed_command([request], check_health=False)
            reply = _read(connection)
        except BaseException:
            # Whatever came between the request and its reply: a late reply must
            # never be taken for the answer to the next request.
            connection.disconnect()
            self._give_back(connection)
            raise
        self._give_back(connection)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def close(self) -> None:
        """Close the connections that are not in use; they open again when needed."""
        with self._changed:
            for connection in list(self._free):
                connection.disconnect()

    def _make_or_wait(self) -> AbstractConnection:
        with self._changed:
            if len(self._made) < self._most:
                connection: AbstractConnection = self._pool.connection_class(
                    **self._pool.connection_kwargs
                )
                self._made.add(connection)
                return connection
            self._waiting += 1
            try:
                if self._changed.wait_for(lambda: bool(self._free), self._timeout):
                    return self._free.pop()
            except IndexError:
                # One that never waited was quicker.
                pass
            finally:
                self._waiting -= 1
        raise RedisConnectionError(
            f"all {self._most} connections were busy for {self._timeout:g} s"
        )

    def _give_back(self, connection: AbstractConnection) -> None:
        self._free.append(connection)
        if self._waiting:
            with self._changed:
                self._changed.notify()


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
