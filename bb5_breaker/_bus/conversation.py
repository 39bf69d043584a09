"""What is said over one connection: asks and PINGs out, answers and events in."""

from __future__ import annotations

import logging
from typing import Final

from redis.exceptions import InvalidResponse

from bb5_breaker._bus.dispatcher import Dispatcher
from bb5_breaker._bus.faults import explain_refusal
from bb5_breaker._bus.follower import Follower
from bb5_breaker._bus.ledger import Ask, Ledger
from bb5_breaker._bus.publications import PublicationReader
from bb5_breaker._bus.registry import Registry
from bb5_breaker._bus.watch import Watch
from bb5_breaker._store.push.dialogue import Dialogue
from bb5_breaker._store.push.frames import Confirmation, Frame, Message, Refusal
from bb5_breaker._store.push.wire import Wire
from bb5_breaker.events import CircuitEvent
from bb5_breaker.exceptions import EventBusError

__all__ = ["Conversation"]

_log = logging.getLogger("bb5_breaker")
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
        follower: Knows what has been told of the circuits.
        watch: Sees to open periods.
        heartbeat_interval: Seconds; see :class:`Dialogue`.
        address: Where Redis is, without secrets.
    """

    def __init__(
        self,
        wire: Wire,
        ledger: Ledger,
        registry: Registry,
        reader: PublicationReader,
        dispatcher: Dispatcher,
        follower: Follower,
        watch: Watch,
        heartbeat_interval: float,
        address: str,
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._reader = reader
        self._dispatcher = dispatcher
        self._follower = follower
        self._watch = watch
        self._address = address
        self._dialogue: Dialogue[Ask] = Dialogue(wire, heartbeat_interval)
        # Versions of the registry that were seen to.
        self._planned_version: int | None = None
        self._begun_version: int | None = None
        self._expiries = Ask(watch.channel, True, 0)
        self._dialogue.ask([(self._expiries, (b"PSUBSCRIBE", watch.channel.name))])

    @property
    def is_settled(self) -> bool:
        """True when all that was asked has been answered."""
        return self._dialogue.is_settled

    def take_turn(self) -> None:
        """Send what is due, wait, and take what has arrived.

        Raises:
            RedisError: The connection is lost.
        """
        now = self._dialogue.ping()
        self._ask()
        for asked, frame in self._dialogue.hear(now):
            if isinstance(frame, Message):
                self._take_message(frame)
            elif asked is not None:
                self._take_answer(asked, frame)
        self._begin_backlogs()

    def _ask(self) -> None:
        version = self._registry.version
        if version == self._planned_version:
            return
        self._planned_version = version
        self._follower.cover()
        # One name a command, so that a refusal says which name it is for.
        self._dialogue.ask(
            [
                (ask, (_VERBS[ask.channel.is_pattern, ask.joins], ask.channel.name))
                for ask in self._ledger.plan()
            ]
        )

    def _take_message(self, message: Message) -> None:
        if message.via == self._watch.channel:
            self._watch.hear(message)
            return
        delivery = self._reader.read(message)
        if delivery is None:
            return
        place = self._follower.place_in_history(delivery.channel, delivery.event)
        if place is None:
            self._dispatcher.put(delivery)
            return
        assert isinstance(delivery.event, CircuitEvent)
        event = delivery.event
        for item in self._follower.take(event, place):
            self._dispatcher.put(item)
        # Only now: handlers come first.
        self._watch.note(event)

    def _begin_backlogs(self) -> None:
        version = self._registry.version
        if version == self._begun_version:
            return
        awaiting = self._registry.awaiting()
        if not awaiting:
            self._begun_version = version
        for subscription in awaiting:
            backlog = subscription.backlog
            if backlog is not None and self._ledger.is_answered(subscription.interest.channel):
                for item in self._follower.backlog_of(subscription, backlog.since):
                    self._dispatcher.put(item)
                backlog.is_under_way = True

    def _take_answer(self, ask: Ask, frame: Frame) -> None:
        self._reader.note_change()
        if ask is self._expiries:
            if isinstance(frame, Refusal):
                self._watch.note_refusal(self._explain(ask, frame).message)
        elif isinstance(frame, Refusal):
            self._take_refusal(ask, frame)
        elif frame == Confirmation(ask.channel, ask.joins):
            self._ledger.confirm(ask)
        else:
            raise InvalidResponse("answers out of step")

    def _take_refusal(self, ask: Ask, refusal: Refusal) -> None:
        error = self._explain(ask, refusal)
        _log.error("%s", error.message)
        self._ledger.refuse(ask, error)

    def _explain(self, ask: Ask, refusal: Refusal) -> EventBusError:
        verb = _VERBS[ask.channel.is_pattern, ask.joins].decode().lower()
        name = ask.channel.name.decode(errors="replace")
        return explain_refusal(refusal.error, self._address, f"{verb} '{name}'")
