"""What one consumer of a group does with each transition that it has been given."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from bb5_breaker._bus.complaints import Complaints
from bb5_breaker._bus.group_birth import GroupBirth
from bb5_breaker._bus.group_places import Place, Taken
from bb5_breaker._bus.group_streams import GroupStreams
from bb5_breaker._bus.handlers import Handler
from bb5_breaker.events import CircuitEvent

__all__ = ["GroupHandling", "GroupStats"]

_log = logging.getLogger("bb5_breaker")
_DIED: Final = "the consumers that had it died, or were too slow"
_GONE: Final = "it is gone from the history, so it can not be told"


@dataclass(frozen=True, slots=True)
class GroupStats:
    """What one consumer of a group has done.

    Args:
        handled: Transitions whose handler returned.
        failed: Calls of the handler that raised.
        claimed: Transitions taken over from a consumer that kept them for too long.
        given_up: Transitions acknowledged without success: given to handlers too often, or gone
            from the history before they could be told.
    """

    handled: int = 0
    failed: int = 0
    claimed: int = 0
    given_up: int = 0


class GroupHandling:
    """Calls the handler, and acknowledges. For use by one thread.

    Args:
        group: Name of the group.
        streams: Where transitions are acknowledged.
        birth: From where on the group is told.
        handler: What is called.
        prefix: Beginning of the channels of circuits.
        max_deliveries: How often a transition is given to handlers.
    """

    def __init__(
        self,
        group: str,
        streams: GroupStreams,
        birth: GroupBirth,
        handler: Handler,
        prefix: str,
        max_deliveries: int,
    ) -> None:
        self._group = group
        self._streams = streams
        self._birth = birth
        self._handler = handler
        self._prefix = prefix
        self._max_deliveries = max_deliveries
        self._done: deque[Place] = deque()
        self._errors = Complaints()
        self._is_disowned = False
        self.stats = GroupStats()

    def disown(self) -> None:
        """In the child of a fork: a handler that is running there is the parent's affair."""
        self._is_disowned = True

    def flush(self) -> None:
        """Acknowledge what could not be acknowledged before, or it would be handled again.

        Raises:
            StoreError: The server can not be reached.
        """
        while self._done:
            self._streams.acknowledge(self._done[0])
            self._done.popleft()

    def handle(self, taken: Taken) -> None:
        """Do with a transition what is to be done.

        Raises:
            StoreError: It could not be acknowledged; :meth:`flush` does so later.
        """
        if taken.entry is None:
            # Of all consumers that find it gone, one acknowledges it.
            if self._streams.acknowledge(taken.place):
                self._note_given_up(taken, _GONE)
            return
        self._count(claimed=taken.attempt > 1)
        if taken.place.entry_id <= self._birth.place_in(taken.place.service):
            # Left over from an earlier life of the group: an old incident pages nobody.
            self._acknowledge(taken.place)
        elif taken.attempt > self._max_deliveries:
            self._give_up(taken, _DIED)
        elif taken.entry.event is None:
            self._give_up(taken, "it is no transition; something else wrote into the history")
        else:
            self._call(taken, taken.entry.event)

    def _call(self, taken: Taken, event: CircuitEvent) -> None:
        try:
            self._handler(f"{self._prefix}.{taken.place.service}", event)
        except BaseException as error:  # an exit or interrupt would end the thread
            self._take_error(taken, error)
            return
        if not self._is_disowned:
            self._count(handled=1)
            self._acknowledge(taken.place)

    def _take_error(self, taken: Taken, error: BaseException) -> None:
        if self._is_disowned:
            return
        self._count(failed=1)
        if taken.attempt >= self._max_deliveries:
            self._give_up(taken, f"the handler raised {type(error).__name__}: {error}"[:300])
        elif self._errors.claim((type(error),)):
            _log.exception(
                "handler %r of group %r raised; the transition is given to a handler again (the "
                "same is logged once a minute)",
                self._handler,
                self._group,
            )

    def _give_up(self, taken: Taken, reason: str) -> None:
        self._note_given_up(taken, reason)
        self._acknowledge(taken.place)

    def _note_given_up(self, taken: Taken, reason: str) -> None:
        _log.error(
            "group %r gives up transition %s of circuit %r, given to handlers at most %d times: %s",
            self._group,
            taken.place.entry_id,
            taken.place.service,
            min(taken.attempt, self._max_deliveries),
            reason,
        )
        self._count(given_up=1)

    def _acknowledge(self, place: Place) -> None:
        self._done.append(place)
        self.flush()

    def _count(
        self, handled: int = 0, failed: int = 0, claimed: int = 0, given_up: int = 0
    ) -> None:
        so_far = self.stats
        self.stats = replace(
            so_far,
            handled=so_far.handled + handled,
            failed=so_far.failed + failed,
            claimed=so_far.claimed + claimed,
            given_up=so_far.given_up + given_up,
        )
