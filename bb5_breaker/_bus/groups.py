"""Consumers that share the transitions of circuits: each is handled once in the group."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from bb5_breaker._bus.forks import disown_in_children
from bb5_breaker._bus.group_birth import GroupBirth, check_group, read_start
from bb5_breaker._bus.group_handling import GroupHandling, GroupStats
from bb5_breaker._bus.group_places import Place
from bb5_breaker._bus.group_streams import GroupStreams
from bb5_breaker._bus.group_troubles import GroupTroubles
from bb5_breaker._bus.handlers import Handler, check_handler, is_coroutine_handler
from bb5_breaker._store.entry_ids import BEGINNING
from bb5_breaker._store.push.backoff import Backoff
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.checks import check_seconds, check_whole
from bb5_breaker.exceptions import StoreDataError, StoreError
from bb5_breaker.service_id import check_service_id

__all__ = ["GroupConsumer", "GroupStats"]

_log = logging.getLogger("bb5_breaker")
_LONGEST_ROUND: Final = 30.0
_FORGET_INTERVAL: Final = 3600.0
_LEAST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 5.0


class GroupConsumer:
    """One of any number of consumers, in any number of processes, that share their work.

    The handler is called as ``handler(topic, event)`` on a thread of the consumer's own, one
    transition after the other; ``topic`` is the channel of the circuit. A transition is done with
    when the handler returned. When it raised, or its process died, the transition is given to
    one of the group again after ``claim_after`` seconds. So is one whose handler runs for longer
    than that: handlers should be quicker, and bear being called twice for one transition.

    Those of one circuit are given out in their order, but consumers work side by side. Connections
    that are lost are made again. As a context manager it ends with the block. Thread-safe; in the
    child of a fork nothing of it runs.

    Args:
        store: Where the circuits are.
        group: Name of the group: 1 to 64 ASCII letters, digits, ``_``, ``.``, ``:`` or ``-``.
        wants: Tells by its id whether the transitions of a circuit are wanted. It should be the
            same in the whole group.
        handler: A plain callable.
        since: "now", "beginning" or the id of an event: from where on the group is told when it
            is a new one. A group that no consumer was in for four weeks is a new one.
        claim_after: Seconds, 0.1 to 86,400, after which another consumer takes over.
        max_deliveries: How often, 1 to 1000, a transition is given to handlers before it is
            given up with an error in the log.
        on_stop: Called once when the consumer is stopped.

    Raises:
        ValueError: An argument is malformed or out of bounds.
        TypeError: The handler can not be called so, or is a coroutine function.
    """

    def __init__(
        self,
        store: RedisStore,
        group: str,
        wants: Callable[[str], bool],
        handler: Handler,
        *,
        since: str = "now",
        claim_after: float = 60.0,
        max_deliveries: int = 5,
        on_stop: Callable[[], object] | None = None,
    ) -> None:
        check_handler(handler)
        if is_coroutine_handler(handler):
            raise TypeError(
                f"handler {handler!r} is a coroutine function; a group takes plain functions, "
                "such as one that waits for asyncio.run_coroutine_threadsafe(...)"
            )
        seconds = check_seconds("claim_after", claim_after, 0.1, 86_400.0)
        check_whole("max_deliveries", max_deliveries, 1, 1000)
        self._group = check_group(group)
        self._store = store
        self._wants = wants
        self._on_stop = on_stop
        self._claim_ms = round(seconds * 1000)
        self._round = min(seconds / 2, _LONGEST_ROUND)
        self._troubles = troubles = GroupTroubles(group, store.address)
        self._birth = birth = GroupBirth(store, group, read_start(since))
        self._streams = GroupStreams(store, group, birth, troubles.complain)
        self._handling = GroupHandling(
            group, self._streams, birth, handler, store.rules.prefix, max_deliveries
        )
        self._backoff = Backoff(_LEAST_WAIT, _LONGEST_WAIT)
        self._ready = threading.Condition()
        self._woken: dict[str, None] = {}
        self._overdue: deque[Place] = deque()
        self._look_at = self._forget_at = self._tried_at = 0.0
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="bb5-bus-group", daemon=True)
        disown_in_children(self)

    @property
    def stats(self) -> GroupStats:
        """What this consumer has done so far."""
        return self._handling.stats

    def start(self) -> None:
        """Make sure that the group exists, and begin.

        Raises:
            StoreError: The server can not be reached or refused; nothing runs then.
        """
        self._birth.settle()
        self._thread.start()

    def wake(self, service: str | None = None) -> None:
        """Have a circuit looked at now; None for all. Never blocks for long.

        What is no service id is passed over: anybody may publish anything.
        """
        if service is not None:
            try:
                check_service_id(service)
            except ValueError:
                return
        with self._ready:
            if service is None:
                self._look_at = 0.0
            elif self._wants(service):
                self._woken[service] = None
            self._ready.notify()

    def stop(self, timeout: float | None = None) -> bool:
        """End the consumer; what it has not been given yet is left to others. Twice is no harm.

        Args:
            timeout: Seconds to wait for a running handler; None for as long as it runs. Inside
                the handler there is no waiting.

        Returns:
            False when the handler still runs; it is acknowledged when it returns.
        """
        with self._ready:
            is_first, self._is_stopped = not self._is_stopped, True
            self._ready.notify()
        if is_first and self._on_stop is not None:
            self._on_stop()
        if self._thread.ident is None or threading.current_thread() is self._thread:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def disown(self) -> None:
        """In the child of a fork: leave all to the parent."""
        self._ready = threading.Condition()
        self._is_stopped, self._on_stop = True, None
        self._handling.disown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                self._take_turn()
            except StoreError as error:
                self._troubles.note_loss(error)
                self._pause()
            except Exception:
                _log.exception("a consumer of group %r met an unexpected error", self._group)
                self._pause()
        self._end()

    def _take_turn(self) -> None:
        self._handling.flush()
        if time.monotonic() >= self._look_at:
            self._look_around()
        self._claim_one()
        service = self._next()
        taken = None if service is None else self._streams.take(service)
        if taken is not None:
            # There may be more, but other circuits come first.
            self.wake(taken.place.service)
            self._handling.handle(taken)

    def _look_around(self) -> None:
        self._look_at = time.monotonic() + self._round
        self._renew_birth()
        services = [each for each in self._store.list_services() if self._wants(each)]
        survey = self._streams.survey(services)
        with self._ready:
            self._woken.update(dict.fromkeys(survey.news))
        self._overdue = deque(Place(each, BEGINNING) for each in survey.pending)
        if time.monotonic() >= self._forget_at:
            self._streams.forget_names(services)
            self._forget_at = time.monotonic() + _FORGET_INTERVAL
        self._troubles.note_return()

    def _renew_birth(self) -> None:
        try:
            self._birth.renew()
        except StoreDataError as error:
            self._troubles.complain(error)

    def _claim_one(self) -> None:
        if not self._overdue:
            return
        place = self._streams.find_overdue(self._overdue.popleft(), self._claim_ms)
        if place is None:
            return
        self._overdue.append(place)
        taken = self._streams.claim(place, self._claim_ms)
        if taken is not None:
            self._handling.handle(taken)

    def _next(self) -> str | None:
        """Return a circuit to be read; None when something else is to be done before."""
        with self._ready:
            while not (self._woken or self._overdue or self._is_stopped):
                pause = self._look_at - time.monotonic()
                if pause <= 0:
                    break
                self._ready.wait(pause)
            if self._is_stopped or not self._woken:
                return None
            service = next(iter(self._woken))
            del self._woken[service]
            return service

    def _pause(self) -> None:
        """Wait before the next attempt, which is to look at everything again."""
        self._backoff.note_lifetime(time.monotonic() - self._tried_at)
        with self._ready:
            self._ready.wait_for(lambda: self._is_stopped, timeout=self._backoff.next_delay())
        self._look_at, self._tried_at = 0.0, time.monotonic()

    def _end(self) -> None:
        try:
            self._handling.flush()
        except StoreError as error:
            _log.warning(
                "%s. What group %r has just handled is not acknowledged, and will be handled again",
                error.message,
                self._group,
            )
