"""What is said over one connection of the feed: subscriptions and PINGs out, pushes in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from redis.exceptions import InvalidResponse

from bb5_breaker._core.tally import Lease
from bb5_breaker._shell.board import GREATEST_AGE, Board
from bb5_breaker._shell.notices import read_transition
from bb5_breaker._store.push.dialogue import Dialogue
from bb5_breaker._store.push.frames import Confirmation, Frame, Message, Refusal
from bb5_breaker._store.push.wire import Wire

__all__ = ["Listening"]

_log = logging.getLogger("bb5_breaker")


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
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        wire: Wire,
        board: Board,
        prefix: str,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._beginning = f"{prefix}.".encode()
        self._notices = f"{prefix}:views".encode()
        self._interval = interval
        self._clock = clock
        self._dialogue: Dialogue[bytes] = Dialogue(wire, interval, clock)
        self._lease = Lease(float("-inf"))
        # Without them a reset of a closed circuit would go unheard.
        self._hears_notices = False
        self._was_refused = False
        self._swept_at = clock()
        self._ask(b"SUBSCRIBE", [self._notices])

    def take_turn(self) -> None:
        """Send what is due, wait, and take what has arrived.

        Raises:
            RedisError: The connection is lost.
        """
        now = self._dialogue.ping()
        self._follow_board()
        for channel, frame in self._dialogue.hear(now):
            self._lease.until = self._dialogue.proven_at + 2 * self._interval
            if isinstance(frame, Message):
                self._take_message(frame)
            elif channel is not None:
                self._take_answer(channel, frame)
        self._sweep(self._clock())

    def end(self) -> None:
        """Nothing is believed any more by what this connection said."""
        self._lease.until = float("-inf")
        self._board.unsubscribe_all()

    def _sweep(self, now: float) -> None:
        if now - self._swept_at > GREATEST_AGE / 2:
            self._swept_at = now
            self._board.disown_old()

    def _follow_board(self) -> None:
        wanted, left = self._board.plan()
        self._ask(b"UNSUBSCRIBE", map(self._channel, left))
        self._ask(b"SUBSCRIBE", map(self._channel, wanted))

    def _ask(self, verb: bytes, channels: Iterable[bytes]) -> None:
        # One name a command, so that a refusal says which name it is for.
        self._dialogue.ask([(channel, (verb, channel)) for channel in channels])

    def _take_answer(self, channel: bytes, frame: Frame) -> None:
        if isinstance(frame, Refusal):
            self._take_refusal(channel, frame)
        elif not isinstance(frame, Confirmation) or frame.channel.name != channel:
            raise InvalidResponse("answers out of step")
        elif channel == self._notices:
            self._hears_notices = True
        elif frame.joins and self._hears_notices:
            self._board.subscribe(self._service(channel), self._lease)

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
