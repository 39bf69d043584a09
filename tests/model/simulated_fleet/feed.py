"""The feed's thread: ``Listening`` as it is, over connections that break."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from redis.exceptions import RedisError

from bb5_breaker._shell.listening import Listening
from bb5_breaker._store.push.wire import Wire

from .announcements import PREFIX
from .threads import Bell, Thread
from .weather import HEARTBEAT

if TYPE_CHECKING:
    from .network import Connection
    from .process import Process

__all__ = ["Feed"]

_BACKOFF = 0.2


class Feed:
    """Connects when it is first woken, and again whenever the connection is lost."""

    def __init__(self, process: Process) -> None:
        self.bell = Bell(process)
        self.connection: Connection | None = None
        self._process = process
        self._is_started = False

    def wake(self) -> None:
        """Have it see to new circuits."""
        if self._is_started:
            self.bell.ring()
        else:
            self._is_started = True
            self._process.timeline.after(1e-5, self._process.resume, self._run())

    def _run(self) -> Thread:
        process = self._process
        while True:
            yield process.weather.delay()
            self.connection = process.network.connect(process)
            if self.connection is not None:
                yield from self._live_through(self.connection)
            yield _BACKOFF

    def _live_through(self, connection: Connection) -> Thread:
        process = self._process
        process.timeline.say(process.name, "is connected")
        wire = cast(Wire, connection)
        listening = Listening(wire, process.board, PREFIX, HEARTBEAT, process.clock)
        try:
            while True:
                connection.has_read = True
                # Once more after something was read: only then it knows how long to wait.
                while connection.has_read:
                    connection.has_read = False
                    listening.take_turn()
                yield self.bell.within(connection.pause)
        except RedisError as error:
            process.timeline.say(process.name, "lost its connection:", error)
        listening.end()
        self.connection = None
        connection.close()
