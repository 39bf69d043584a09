"""One connection in subscribed mode."""

from __future__ import annotations

import selectors
from collections.abc import Iterable, Iterator
from typing import Any, Final

import redis
from redis.exceptions import ResponseError

from bb5_breaker._store.push.frames import Frame, Refusal, read_frame
from bb5_breaker._store.push.waker import Waker

__all__ = ["Wire"]

_MOST_AT_ONCE: Final = 100


class Wire:
    """A connection of the feed's own, used by the feed's thread alone.

    redis-py's PubSub is not used: it reconnects and subscribes again behind our back, has no
    deadline for an answer to its PING, and can not be woken to send.

    Args:
        client: A client as :mod:`bb5_breaker._store.clients` makes it; says where to connect.
        timeout: Seconds for a read or write that has begun.
        waker: Ends :meth:`wait` early.
    """

    def __init__(self, client: redis.Redis, timeout: float, waker: Waker) -> None:
        pool = client.connection_pool
        options = {**pool.connection_kwargs, "socket_timeout": timeout}
        self._connection: Any = pool.connection_class(**options)
        self._waker = waker
        self._selector = selectors.DefaultSelector()
        self._has_more = False

    def open(self) -> None:
        """Connect and log in.

        Raises:
            RedisError: It could not be done.
        """
        self._connection.connect()
        # No public name for it; redis-py has had this one since its beginning.
        self._selector.register(self._connection._sock, selectors.EVENT_READ)
        self._selector.register(self._waker, selectors.EVENT_READ)

    def send(self, commands: Iterable[tuple[bytes, ...]]) -> None:
        """Send commands; nothing is read."""
        self._connection.send_packed_command(self._connection.pack_commands(commands))

    def wait(self, seconds: float) -> None:
        """Wait until there is something to read, the waker calls, or the time is up."""
        for key, _ in self._selector.select(0 if self._has_more else seconds):
            if key.fileobj is self._waker:
                self._waker.hush()

    def read(self) -> Iterator[Frame]:
        """Return what has arrived, a bounded number of frames at once; waits for none."""
        self._has_more = False
        for _ in range(_MOST_AT_ONCE):
            # Looked at before each frame: the parser, and TLS, hold bytes that select() can
            # not see.
            if not self._connection.can_read(0):
                return
            yield self._read_one()
        self._has_more = True

    def close(self) -> None:
        """Close the connection. In the child of a fork the parent's stays up."""
        self._selector.close()
        self._connection.disconnect()

    def _read_one(self) -> Frame:
        try:
            return read_frame(self._connection.read_response(disable_decoding=True))
        except ResponseError as error:
            return Refusal(error)
