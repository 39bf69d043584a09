"""The list of services: a sorted set in a slot of its own, so written apart from the scripts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from bb5_breaker._core.policy import StoreRules
from bb5_breaker._core.replies import CircuitView
from bb5_breaker._store.backend import Backend
from bb5_breaker._store.faults import is_wrong_type
from bb5_breaker._store.keys import registry_key
from bb5_breaker.exceptions import StoreError, StoreUnavailableError
from bb5_breaker.service_id import check_service_id
from bb5_breaker.state import CircuitState

__all__ = ["Registry"]

_log = logging.getLogger("bb5_breaker")
# No open period is longer, so no circuit outlives the list.
_LONGEST_OPEN_MS: Final = 7 * 86_400_000
# Seconds before a list that could not be reached is tried again.
_REST: Final = 1.0


class Registry:
    """Names the circuits of a store, each until its own keys have expired. Thread-safe.

    Args:
        server: Where it is kept.
        rules: Rules of the store.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        server: Backend,
        rules: StoreRules,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._key = registry_key(rules.prefix)
        self._life_ms = rules.idle_ms + rules.idle_ms // 2
        self._due: dict[str, int] = {}
        self._failed = False
        self._clock = clock
        # In a Cluster the list may be away while circuits are not: their reports must not wait
        # for it each time.
        self._rests_until = float("-inf")

    @property
    def is_behind(self) -> bool:
        """True when circuits are still to be entered: the next report should try again."""
        return bool(self._due) and self._clock() >= self._rests_until

    def enter(self, views: Iterable[tuple[str, CircuitView]]) -> None:
        """Enter the circuits whose lives were prolonged.

        Their reports are counted already: when this fails it is logged once, and tried again
        with the next report.
        """
        now_ms = 0
        for service, view in views:
            now_ms = max(now_ms, view.now_ms)
            if view.renewed:
                self._due[service] = view.now_ms + self._life_ms + _remaining_ms(view)
        if not now_ms or not self.is_behind:
            return
        due = self._take_due()
        if not due:
            return
        try:
            self._write(due, now_ms)
            self._failed = False
        except StoreError as error:
            if isinstance(error, StoreUnavailableError):
                self._rests_until = self._clock() + _REST
            for service, end_ms in due.items():
                self._due.setdefault(service, end_ms)
            if not self._failed:
                self._failed = True
                _log.warning("%s. Until then new circuits are not listed", error.message)

    def list_services(self) -> list[str]:
        """Return the ids, sorted; malformed ones, which are not ours, are left out.

        Raises:
            StoreError: The list can not be read.
        """
        members = self._run(("ZRANGE", self._key, 0, -1))
        return sorted(name for member in members if (name := _good_id(member)) is not None)

    def drop(self, service: str) -> None:
        """Take a service out.

        Raises:
            StoreError: The list can not be written.
        """
        self._run(("ZREM", self._key, service))

    def _take_due(self) -> dict[str, int]:
        """Take all that is due, entry by entry: another thread may be entering more."""
        due: dict[str, int] = {}
        while True:
            try:
                service, end_ms = self._due.popitem()
            except KeyError:
                return due
            due[service] = end_ms

    def _write(self, due: dict[str, int], now_ms: int) -> None:
        entries = [word for service, end_ms in due.items() for word in (end_ms, service)]
        life_ms = self._life_ms + _LONGEST_OPEN_MS
        self._run(
            ("ZADD", self._key, *entries),
            ("ZREMRANGEBYSCORE", self._key, "-inf", f"({now_ms}"),
            ("PEXPIRE", self._key, life_ms),
        )

    def _run(self, *commands: tuple[Any, ...]) -> list[bytes]:
        """Return the first reply, when none is an error."""
        replies = self._server.pipeline([(self._key, words) for words in commands])
        for reply in replies:
            if isinstance(reply, Exception):
                if is_wrong_type(reply):
                    raise self._server.explain_type({self._key: "zset"}) from reply
                raise self._server.explain_plain(reply, self._key)
        return replies[0] if isinstance(replies[0], list) else []


def _remaining_ms(view: CircuitView) -> int:
    return max(0, view.until_ms - view.now_ms) if view.state is CircuitState.OPEN else 0


def _good_id(member: bytes) -> str | None:
    try:
        return check_service_id(member.decode())
    except ValueError:
        return None
