"""What is said over one connection of the feed: subscriptions and PINGs out, pushes in."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Final

from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from bb5_breaker._core.tally import Lease
from bb5_breaker._shell.board import GREATEST_AGE, Board
from bb5_breaker._shell.notices import read_transition
from bb5_breaker._store.push.frames import Confirmation, Frame, Message, Refusal
from bb5_breaker._store.push.heartbeat import Heartbeat
from bb5_breaker._store.push.wire import Wire

__all__ = ["Listening"]

_log = logging.getLogger("bb5_breaker")
_PING: Final = (b"PING",)
_MOST_IN_ONE_COMMAND: Final = 500


class Listening:
    """Keeps the views of one board believed for as long as this connection lives.

    All views share one lease, which only the answer to a PING prolongs: Redis answers in the
    order of asking, so with the answer everything has arrived that was published before the
    PING. A view gets the lease with the first answer of the store to a question that was asked
    after its subscription was confirmed. Used by the feed's thread alone.

    Args:
        wire: The open connection.
        board: The views.
        prefix: Beginning of the channels.
        interval: Seconds between PINGs; a PING not answered within one ends the connection.
    """

    def __init__(self, wire: Wire, board: Board, prefix: str, interval: float) -> None:
        self._wire = wire
        self._board = board
        self._beginning = f"{prefix}.".encode()
        self._notices = f"{prefix}:views".encode()
        self._interval = interval
        self._heartbeat = Heartbeat(interval, time.monotonic())
        self._lease = Lease(time.monotonic())
        self._pinged_at = 0.0
        # Redis answers in the order of asking; None stands for a PING.
        self._unanswered: deque[bytes | None] = deque()
        # Without them a reset of a closed circuit would go unheard.
        self._hears_notices = False
        self._was_refused = False
        self._swept_at = time.monotonic()
        self._ask([(b"SUBSCRIBE", self._notices)])

    def take_turn(self) -> None:
        """Send what is due, wait, and take what has arrived.

        Raises:
            RedisError: The connection is lost.
        """
        now = time.monotonic()
        self._ping(now)
        self._follow_board()
        self._wire.wait(self._heartbeat.pause(now))
        # Taken before reading: when this process itself stood still, the answer that
        # lay in the socket meanwhile counts.
        looked_at = time.monotonic()
        for frame in self._wire.read():
            self._heartbeat.note_sign(time.monotonic())
            self._take(frame)
        if self._heartbeat.is_dead(looked_at):
            raise RedisTimeoutError(f"no answer to a PING within {self._interval:g} s")
        if looked_at - self._swept_at > GREATEST_AGE / 2:
            self._swept_at = looked_at
            self._board.disown_old()

    def end(self) -> None:
        """Nothing is believed any more by what this connection said."""
        self._lease.until = float("-inf")
        self._board.unsubscribe_all()

    def _ping(self, now: float) -> None:
        if self._heartbeat.is_due(now):
            self._wire.send([_PING])
            self._unanswered.append(None)
            self._heartbeat.note_ping(now)
            self._pinged_at = now

    def _follow_board(self) -> None:
        wanted, left = self._board.plan()
        self._ask([(b"UNSUBSCRIBE", self._channel(service)) for service in left])
        self._ask([(b"SUBSCRIBE", self._channel(service)) for service in wanted])

    def _ask(self, commands: list[tuple[bytes, bytes]]) -> None:
        # One name a command, so that a refusal says which name it is for; hundreds a send.
        for start in range(0, len(commands), _MOST_IN_ONE_COMMAND):
            batch = commands[start : start + _MOST_IN_ONE_COMMAND]
            self._unanswered.extend(channel for _, channel in batch)
            self._wire.send(batch)

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Message):
            self._take_message(frame)
            return
        if not self._unanswered:
            raise InvalidResponse("an answer to nothing that was asked")
        channel = self._unanswered.popleft()
        if channel is None:
            self._take_pong(frame)
        elif isinstance(frame, Refusal):
            self._take_refusal(channel, frame)
        elif not isinstance(frame, Confirmation) or frame.channel.name != channel:
            raise InvalidResponse("answers out of step")
        elif channel == self._notices:
            self._hears_notices = True
        elif frame.joins and self._hears_notices:
            self._board.subscribe(self._service(channel), self._lease)

    def _take_pong(self, frame: Frame) -> None:
        # A user without the right to PING gets an error: that is life, too.
        if isinstance(frame, Confirmation):
            raise InvalidResponse("answers out of step")
        self._heartbeat.note_answer()
        self._lease.until = self._pinged_at + 2 * self._interval

    def _take_message(self, message: Message) -> None:
        if message.channel == self._notices:
            self._board.disown(message.payload.decode(errors="replace"))
            return
        service = self._service(message.channel)
        told = read_transition(service, message.payload)
        if told is None:
            # Whatever was published there, it is the store that knows.
            self._board.disown(service)
        else:
            self._board.hear(service, told)

    def _take_refusal(self, channel: bytes, refusal: Refusal) -> None:
        if self._was_refused:
            return
        self._was_refused = True
        _log.error(
            "Redis refused to subscribe to %s: %s. Calls ask Redis each time instead; allow the "
            "user the channels %s* and %s",
            channel.decode(errors="replace"),
            refusal.error,
            self._beginning.decode(),
            self._notices.decode(),
        )

    def _channel(self, service: str) -> bytes:
        return self._beginning + service.encode()

    def _service(self, channel: bytes) -> str:
        return channel[len(self._beginning) :].decode(errors="replace")
