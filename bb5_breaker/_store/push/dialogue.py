"""What is asked and heard over one connection in subscribed mode, and whether it is alive."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from bb5_breaker._store.push.frames import Confirmation, Frame, Message
from bb5_breaker._store.push.heartbeat import Heartbeat
from bb5_breaker._store.push.wire import Wire

__all__ = ["Dialogue"]

Asked = TypeVar("Asked")
_PING: Final = (b"PING",)
_MOST_IN_ONE_SEND: Final = 500


class Dialogue(Generic[Asked]):
    """Sends PINGs and other commands, and pairs what is answered with what was asked.

    Redis answers in the order of asking. Used by one thread alone. A turn is :meth:`ping`, then
    any number of :meth:`ask`, then :meth:`hear` to its end.

    Args:
        wire: The open connection.
        interval: Seconds between PINGs; one that is not answered within one ends the connection.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self, wire: Wire, interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # When the last PING that was answered went out: what was published before it has arrived.
        self.proven_at = float("-inf")
        self._wire = wire
        self._interval = interval
        self._clock = clock
        self._heartbeat = Heartbeat(interval, clock())
        self._pinged_at = self.proven_at
        # None stands for a PING.
        self._unanswered: deque[Asked | None] = deque()

    @property
    def is_settled(self) -> bool:
        """True when all that was asked has been answered."""
        return not self._unanswered

    def ping(self) -> float:
        """Send a PING when it is due; return the present."""
        now = self._clock()
        if self._heartbeat.is_due(now):
            self._wire.send([_PING])
            self._unanswered.append(None)
            self._heartbeat.note_ping(now)
            self._pinged_at = now
        return now

    def ask(self, asks: Sequence[tuple[Asked, tuple[bytes, ...]]]) -> None:
        """Send commands, hundreds at once, each with what its answer is to be paired with."""
        for start in range(0, len(asks), _MOST_IN_ONE_SEND):
            batch = asks[start : start + _MOST_IN_ONE_SEND]
            self._unanswered.extend(asked for asked, _ in batch)
            self._wire.send(command for _, command in batch)

    def hear(self, now: float) -> Iterator[tuple[Asked | None, Frame]]:
        """Wait for as long as there is nothing to do, and return what has arrived.

        Args:
            now: What :meth:`ping` returned.

        Yields:
            A publication, or the answer to a PING, after None; any other answer after what was
            asked.

        Raises:
            RedisError: The connection is lost, or its answers make no sense.
        """
        self._wire.wait(self._heartbeat.pause(now))
        # Taken before reading: when this process itself stood still, the answer that lay in the
        # socket meanwhile counts.
        looked_at = self._clock()
        for frame in self._wire.read():
            self._heartbeat.note_sign(self._clock())
            yield (None if isinstance(frame, Message) else self._pair(frame)), frame
        if self._heartbeat.is_dead(looked_at):
            raise RedisTimeoutError(f"no answer to a PING within {self._interval:g} s")

    def _pair(self, frame: Frame) -> Asked | None:
        if not self._unanswered:
            raise InvalidResponse("an answer to nothing that was asked")
        asked = self._unanswered.popleft()
        if asked is None:
            # A user without the right to PING gets an error: that is life, too.
            if isinstance(frame, Confirmation):
                raise InvalidResponse("answers out of step")
            self._heartbeat.note_answer()
            self.proven_at = self._pinged_at
        return asked
