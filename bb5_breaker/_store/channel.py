"""One connection to a server: a request goes out, and its reply comes in.

redis-py opens the connection, logs in, and reads all that is not simple. The short text that
almost every script answers with is taken from the socket straight away: redis-py spends more
time around such a reply than the server on the script.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bb5_breaker._store.framing import is_whole

__all__ = ["Channel"]

_GLANCE: Final = 4096
# Longer replies are read as they come, each part in its time.
_LONGEST_LOOK: Final = 65_536
_PATIENCE: Final = 60.0
_PAUSE: Final = 0.001


class Channel:
    """A connection as redis-py makes it, used by one thread at a time.

    After any error or interrupt its user has to :meth:`disconnect` it: a late reply must never
    be taken for the answer to the next request. The next request connects again.

    Args:
        connection: The connection; it may be open or not.
        permit: Kept for as long as the channel lives.
    """

    __slots__ = ("__weakref__", "_connection", "_has_news", "_permit")

    def __init__(self, connection: AbstractConnection, permit: object = None) -> None:
        self._connection: Any = connection
        self._permit = permit
        # Tells whether the plain socket has something to read; None while the connection has
        # none, or redis-py has to be asked as it may hold something itself.
        self._has_news: Callable[[int], Sequence[Any]] | None = None

    def ask(self, request: bytes) -> Any:
        """Send a request and return its reply; an error that the server answered likewise.

        Raises:
            RedisError: The server can not be reached.
            OSError: Likewise.
        """
        if (self._has_news is None or self._has_news(0)) and not self._open():
            return self._exchange(request, 1)[0]
        plain = self._connection._sock
        plain.sendall(request)
        # Only looked at: what is no short text, or not all there, is left to redis-py.
        sent_at = time.monotonic()
        seen = plain.recv(_GLANCE, socket.MSG_PEEK)
        end = seen.find(b"\r\n")
        size = seen[1:end]
        # Without an end, "$0\r" would pass for a whole reply.
        if end > 1 and seen[:1] == b"$" and size.isdigit() and len(seen) == end + 4 + int(size):
            _skip(plain, len(seen))
            return seen[end + 2 : -2]
        if not is_whole(seen):
            _await_whole(plain, sent_at)
        return self._read()

    def ask_many(self, requests: Sequence[bytes]) -> list[Any]:
        """Send requests together and return their replies, errors that came likewise.

        Raises:
            RedisError: The server can not be reached.
            OSError: Likewise.
        """
        self._open()
        return self._exchange(b"".join(requests), len(requests))

    def disconnect(self) -> None:
        """Close the connection."""
        self._has_news = None
        self._connection.disconnect()

    def _exchange(self, data: bytes, replies: int) -> list[Any]:
        self._connection.send_packed_command([data], check_health=False)
        return [self._read() for _ in range(replies)]

    def _read(self) -> Any:
        # redis-py may hold more than it returns: it is asked before the next request.
        self._has_news = None
        try:
            return self._connection.read_response()
        except ResponseError as error:
            # Without the frames that it came through: they hold on to the socket.
            return error.with_traceback(None)

    def _open(self) -> bool:
        """Connect; anew when the server hung up or something was left unread.

        Returns:
            Nothing but the kernel stands behind the socket. TLS keeps bytes of its own; so may a
            connection that somebody else wrote.
        """
        self._has_news = None
        connection = self._connection
        connection.connect()
        try:
            clean = not connection.can_read()
        except (RedisError, OSError):
            clean = False
        if not clean:
            connection.disconnect()
            connection.connect()
        # No public name for it; redis-py has had this one since its beginning.
        found = getattr(connection, "_sock", None)
        if type(found) is not socket.socket or not hasattr(select, "poll"):
            return False
        watch = select.poll()
        watch.register(found, select.POLLIN)
        self._has_news = watch.poll
        return True


def _await_whole(plain: socket.socket, sent_at: float) -> None:
    """Wait until a reply is all there, or as much as may be looked at.

    The socket's time-out is begun anew with each byte that comes: over a line that lets them
    through one by one a reply could take minutes.
    """
    ends = sent_at + (plain.gettimeout() or _PATIENCE)
    while True:
        seen = plain.recv(_LONGEST_LOOK, socket.MSG_PEEK)
        if not seen or len(seen) == _LONGEST_LOOK or is_whole(seen):
            return
        if time.monotonic() > ends:
            raise RedisTimeoutError("Timeout reading from socket: a reply came too slowly")
        # There is something to read already, so the socket can not be waited for.
        time.sleep(_PAUSE)


def _skip(plain: socket.socket, size: int) -> None:
    if len(plain.recv(size)) != size:
        raise RedisConnectionError("a reply changed while it was read")
