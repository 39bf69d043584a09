"""The primary that sentinels name, and connections that go only there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet, ref

import redis
from redis.exceptions import ResponseError

from bb5_breaker._store.addresses import join_host
from bb5_breaker._store.background import Background
from bb5_breaker._store.chance import draw_between
from bb5_breaker._store.faults import NoPrimaryError, is_replica_error
from bb5_breaker._store.forks import renew_in_children
from bb5_breaker._store.sentinels import Address, Sentinels

__all__ = ["Primary", "PrimaryConnection", "PrimarySSLConnection"]

# Seconds between two looks at what the sentinels say while connections are open.
_LOOK_INTERVAL: Final = 2.0
_REPLICA_ROLES: Final = frozenset({b"replica", b"slave"})


class Primary:
    """Where the primary is, and the connections that are open to it. Thread-safe.

    A connection can outlive its server's time as the primary: cut off from the sentinels that
    server goes on answering, and as a replica it still answers readers and takes subscribers. So
    while any is open a thread asks the sentinels now and then, and cuts those that lead
    elsewhere; whoever uses one finds it closed, and the next one goes to the new primary.

    Args:
        name: What it is called in messages, without secrets.
        sentinels: Whom to ask.
        interval: Seconds between two questions.
    """

    def __init__(self, name: str, sentinels: Sentinels, interval: float = _LOOK_INTERVAL) -> None:
        self.name = name
        self._sentinels = sentinels
        self._interval = interval
        self._watch = Background("bb5-breaker-sentinels")
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without connections; those of a parent are left alone."""
        # Held while a descriptor is shut down or closed, lest it be another's by then. May be
        # entered twice: collecting a forgotten connection closes it, at any line.
        self.closing = threading.RLock()
        # Open ones and such as were. None is taken out: it could be while another is looked at.
        self._known: WeakSet[PrimaryConnection] = WeakSet()
        self._named: Address | None = None
        self._watch.forget()

    def find(self) -> Address:
        """Return where the primary is: as the sentinels say, or said last when all are silent.

        Raises:
            NoPrimaryError: They do not say, and never did.
        """
        try:
            self._named = self._sentinels.ask()
        except NoPrimaryError:
            # Without sentinels nobody is promoted. Were it otherwise, the server would say that
            # it is a replica, or be as wrong as the connections that are open to it.
            if (named := self._named) is None:
                raise
            return named
        return self._named

    def enter(self, connection: PrimaryConnection) -> None:
        """From now on a connection is cut when it leads elsewhere, whenever it is open."""
        with self.closing:
            self._known.add(connection)
        if not self._watch.is_running:
            self._watch.start(_keep_looking, ref(self), self._watch, self._interval)

    def doubt(self, address: Address | None) -> None:
        """A server turned out to be a replica: whatever leads there is cut."""
        self._sentinels.doubt_first()
        if self._named == address:
            self._named = None
        self._cut(lambda connection: connection.address == address)

    def look(self) -> None:
        """Cut what leads elsewhere than the sentinels say now; nothing while they are silent.

        With no connection open, those to the sentinels are closed as well.
        """
        with self.closing:
            is_needed = any(connection.is_open for connection in self._known)
        if not is_needed:
            self._sentinels.close()
            return
        with suppress(NoPrimaryError):
            named = self._named = self._sentinels.ask()
            self._cut(lambda connection: connection.address != named)

    def _cut(self, is_wrong: Callable[[PrimaryConnection], bool]) -> None:
        with self.closing:
            for connection in self._known:
                if is_wrong(connection):
                    connection.cut()


class PrimaryConnection(redis.Connection):
    """A connection to whichever server is the primary when it is opened.

    Args:
        primary: Knows where that is.
        **options: Those of redis-py, but for host and port.
    """

    _sock: Any

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        self._primary = primary
        self.address: Address | None = None
        super().__init__(**options)  # type: ignore[no-untyped-call]

    @property
    def is_open(self) -> bool:
        """True while there is a socket."""
        return self._sock is not None

    def connect(self) -> None:
        """Connect, unless it is connected, and make sure that this is a primary.

        Raises:
            RedisError: There is none to connect to.
        """
        was_open = self.is_open
        super().connect()  # type: ignore[no-untyped-call]
        if was_open:
            return
        try:
            self._check_role()
        except BaseException:
            self.disconnect()
            raise
        self._primary.enter(self)

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close the connection."""
        with self._primary.closing:
            super().disconnect(*args, **kwargs)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Return a reply; a replica's refusal ends this connection and all others to it.

        Raises:
            RedisError: The server refused, or the connection is lost.
        """
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as error:
            if not is_replica_error(error):
                raise
            self.disconnect()
            raise self._turn_away() from error

    def cut(self) -> None:
        """Have whoever uses the connection find it closed; holding the primary's lock."""
        if (found := self._sock) is not None:
            # Not that of a TLS socket, which would go on in plain text.
            with suppress(OSError):
                socket.socket.shutdown(found, socket.SHUT_RDWR)

    def _connect(self) -> Any:
        self.address = self._primary.find()
        self.host, self.port = self.address
        return super()._connect()  # type: ignore[no-untyped-call]

    def _check_role(self) -> None:
        # Every user may say HELLO, but not ROLE.
        self.send_command("HELLO", check_health=False)  # type: ignore[no-untyped-call]
        try:
            reply = self.read_response(disable_decoding=True)
        except ResponseError:
            # Something between us and the server does not know it: the first write will tell.
            return
        if b"role" in reply and reply[reply.index(b"role") + 1] in _REPLICA_ROLES:
            raise self._turn_away()

    def _turn_away(self) -> NoPrimaryError:
        self._primary.doubt(self.address)
        return NoPrimaryError(
            f"{join_host(self.host, self.port)} is a replica, and no primary any more; the "
            "sentinels are asked again at the next attempt"
        )


class PrimarySSLConnection(PrimaryConnection, redis.SSLConnection):
    """The same over TLS."""


def _keep_looking(known: ref[Primary], watch: Background, interval: float) -> None:
    try:
        while watch.is_current:
            # Jitter keeps a fleet from asking in step.
            time.sleep(interval * draw_between(0.75, 1.25))
            primary = known()
            if primary is None:
                return
            primary.look()
            del primary
    finally:
        watch.leave()
