"""What is said over one connection: asks and PINGs out, answers and events in."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Final

from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from bb5_breaker._bus.dispatcher import Dispatcher
from bb5_breaker._bus.faults import explain_refusal
from bb5_breaker._bus.ledger import Ask, Ledger
from bb5_breaker._bus.publications import PublicationReader
from bb5_breaker._bus.registry import Registry
from bb5_breaker._store.push.frames import Confirmation, Frame, Message, Refusal
from bb5_breaker._store.push.heartbeat import Heartbeat
from bb5_breaker._store.push.wire import Wire

__all__ = ["Conversation"]

_log = logging.getLogger("bb5_breaker")
_PING: Final = (b"PING",)
_VERBS: Final = {
    (False, True): b"SUBSCRIBE",
    (False, False): b"UNSUBSCRIBE",
    (True, True): b"PSUBSCRIBE",
    (True, False): b"PUNSUBSCRIBE",
}


class Conversation:
    """Brings a connection in line with the registry and passes on what it hears.

    Used by the feed's thread alone.

    Args:
        wire: The open connection.
        ledger: Where asks and answers are noted.
        registry: What is needed of Redis.
        reader: Makes events of messages.
        dispatcher: Takes the events.
        heartbeat_interval: Seconds; see :class:`Heartbeat`.
        address: Where Redis is, without secrets.
    """

    def __init__(
        self,
        wire: Wire,
        ledger: Ledger,
        registry: Registry,
        reader: PublicationReader,
        dispatcher: Dispatcher,
        heartbeat_interval: float,
        address: str,
    ) -> None:
        self._wire = wire
        self._ledger = ledger
        self._registry = registry
        self._reader = reader
        self._dispatcher = dispatcher
        self._interval = heartbeat_interval
        self._address = address
        self._heartbeat = Heartbeat(heartbeat_interval, time.monotonic())
        # Redis answers in the order of asking; None stands for a PING.
        self._unanswered: deque[Ask | None] = deque()
        self._planned_version: int | None = None

    @property
    def is_settled(self) -> bool:
        """True when all that was asked has been answered."""
        return not self._unanswered

    def take_turn(self) -> None:
        """Send what is due, wait, and take what has arrived.

        Raises:
            RedisError: The connection is lost.
        """
        now = time.monotonic()
        self._ping(now)
        self._ask()
        self._wire.wait(self._heartbeat.pause(now))
        # Taken before reading: when this process itself stood still, the answer that lay in the
        # socket meanwhile counts.
        looked_at = time.monotonic()
        for frame in self._wire.read():
            self._heartbeat.note_sign(time.monotonic())
            self._take(frame)
        if self._heartbeat.is_dead(looked_at):
            raise RedisTimeoutError(f"no answer to a PING within {self._interval:g} s")

    def _ping(self, now: float) -> None:
        if self._heartbeat.is_due(now):
            self._wire.send([_PING])
            self._unanswered.append(None)
            self._heartbeat.note_ping(now)

    def _ask(self) -> None:
        version = self._registry.version
        if version == self._planned_version:
            return
        self._planned_version = version
        asks = self._ledger.plan()
        if asks:
            self._unanswered.extend(asks)
            # One name a command, so that a refusal says which name it is for.
            self._wire.send(
                (_VERBS[ask.channel.is_pattern, ask.joins], ask.channel.name) for ask in asks
            )

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Message):
            delivery = self._reader.read(frame)
            if delivery is not None:
                self._dispatcher.put(delivery)
            return
        if not self._unanswered:
            raise InvalidResponse("an answer to nothing that was asked")
        asked = self._unanswered.popleft()
        if asked is None:
            self._take_pong(frame)
        else:
            self._take_answer(asked, frame)

    def _take_pong(self, frame: Frame) -> None:
        # A user without the right to PING gets an error: that is life, too.
        if isinstance(frame, Confirmation):
            raise InvalidResponse("answers out of step")
        self._heartbeat.note_answer()

    def _take_answer(self, ask: Ask, frame: Frame) -> None:
        self._reader.note_change()
        if isinstance(frame, Refusal):
            self._take_refusal(ask, frame)
        elif frame == Confirmation(ask.channel, ask.joins):
            self._ledger.confirm(ask)
        else:
            raise InvalidResponse("answers out of step")

    def _take_refusal(self, ask: Ask, refusal: Refusal) -> None:
        verb = _VERBS[ask.channel.is_pattern, ask.joins].decode().lower()
        name = ask.channel.name.decode(errors="replace")
        error = explain_refusal(refusal.error, self._address, f"{verb} '{name}'")
        _log.error("%s", error.message)
        self._ledger.refuse(ask, error)
