"""The connections that scripts run over: few, the latest used first, shared fairly.

redis-py's client spends more time around a command than the server on the script: it packs
word by word, keeps a queue of connections under a lock, and prepares retries that we never
want. Its connections are used here; only the way to them is shorter.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from weakref import finalize, ref

from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from bb5_breaker._store.channel import Channel
from bb5_breaker._store.forks import renew_in_children

__all__ = ["ConnectionStack"]


class _Waiter:
    """A request that waits for a connection, and the connection when it has been handed one."""

    __slots__ = ("channel", "ready")

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self.ready = threading.Lock()
        self.ready.acquire()


class _Permit:
    """Leave for one connection; whoever loses it, in whatever moment, makes room for another."""

    __slots__ = ("__weakref__",)


class _Shelf:
    """The connections of one process, and the permits that live."""

    __slots__ = ("free", "living", "lock", "waiting")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.free: deque[Channel] = deque()
        self.waiting: deque[_Waiter] = deque()
        self.living: set[ref[_Permit]] = set()

    def permit(self, most: int) -> _Permit | None:
        """Return a permit unless as many live already."""
        with self.lock:
            if len(self.living) >= most:
                return None
            permit = _Permit()
            # Taken out by a function in C, which no interrupt can halve.
            self.living.add(ref(permit, self.living.discard))
            return permit


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
        channel = self._take(shelf)
        try:
            reply = channel.ask(request)
        except BaseException:
            _give_up(shelf, channel)
            raise
        _give_back(shelf, channel)
        if isinstance(reply, ResponseError):
            try:
                raise reply
            finally:
                # Held by the frame that it comes from, it would hold itself, and by that frame
                # all that called, until the collector comes.
                del reply
        return reply

    def ask_many(self, requests: Sequence[bytes]) -> list[Any]:
        """Send requests in one go; an error that the server answered stands for its reply.

        Raises:
            RedisError: The server can not be reached.
            OSError: Likewise.
        """
        shelf = self._shelf
        channel = self._take(shelf)
        try:
            replies = channel.ask_many(requests)
        except BaseException:
            _give_up(shelf, channel)
            raise
        _give_back(shelf, channel)
        return replies

    def close(self) -> None:
        """Close the connections that are not in use; they open again when needed."""
        shelf = self._shelf
        for _ in range(len(shelf.free)):
            # Taken out first: it must not be closed under a request that began just now.
            try:
                channel = shelf.free.popleft()
            except IndexError:
                return
            _give_up(shelf, channel)

    def _take(self, shelf: _Shelf) -> Channel:
        if not shelf.waiting:
            # Without a lock: the deque's own operations are atomic.
            try:
                return shelf.free.pop()
            except IndexError:
                pass
        made = self._make(shelf)
        return made if made is not None else self._wait(shelf)

    def _make(self, shelf: _Shelf) -> Channel | None:
        permit = shelf.permit(self._most)
        if permit is None:
            return None
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        channel = Channel(connection, permit)
        # Left to the collector, the socket could go before the connection that should close it.
        finalize(channel, connection.disconnect).atexit = False
        return channel

    def _wait(self, shelf: _Shelf) -> Channel:
        waiter = _Waiter()
        try:
            shelf.waiting.append(waiter)
            # One may have been given back just before this request was seen to wait.
            _hand_over(shelf)
            waiter.ready.acquire(timeout=self._timeout)
        except BaseException:
            handed = _leave(shelf, waiter)
            if handed is not None:
                _give_back(shelf, handed)
            raise
        channel = waiter.channel
        if channel is None:
            channel = _leave(shelf, waiter)
        if channel is None:
            raise RedisConnectionError(
                f"all {self._most} connections were busy for {self._timeout:g} s"
            )
        return channel


def _give_up(shelf: _Shelf, channel: Channel) -> None:
    # Whatever came between the request and its reply: a late reply must never be taken
    # for the answer to the next request.
    channel.disconnect()
    _give_back(shelf, channel)


def _give_back(shelf: _Shelf, channel: Channel) -> None:
    shelf.free.append(channel)
    if shelf.waiting:
        _hand_over(shelf)


def _hand_over(shelf: _Shelf) -> None:
    """Hand free connections to those that wait, the longest first."""
    with shelf.lock:
        while shelf.waiting and shelf.free:
            try:
                channel = shelf.free.pop()
            except IndexError:
                return
            waiter = shelf.waiting.popleft()
            waiter.channel = channel
            waiter.ready.release()


def _leave(shelf: _Shelf, waiter: _Waiter) -> Channel | None:
    """Stop waiting; return the connection that was handed over in this very moment."""
    with shelf.lock:
        if waiter.channel is None:
            # Not there when an interrupt came before it was, or in the middle of a hand-over.
            with suppress(ValueError):
                shelf.waiting.remove(waiter)
        return waiter.channel
