"""The list of services: a sorted set in a slot of its own, so written apart from the scripts."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from bb5_breaker._core.policy import StoreRules
from bb5_breaker._core.replies import CircuitView
from bb5_breaker._store.faults import is_wrong_type
from bb5_breaker._store.keys import registry_key
from bb5_breaker._store.server import Server
from bb5_breaker.exceptions import StoreError
from bb5_breaker.service_id import check_service_id
from bb5_breaker.state import CircuitState

__all__ = ["Registry"]

_log = logging.getLogger("bb5_breaker")
# No open period is longer, so no circuit outlives the list.
_LONGEST_OPEN_MS: Final = 7 * 86_400_000


class Registry:
    """Names the circuits of a store, each until its own keys have expired. Thread-safe.

    Args:
        server: Where it is kept.
        rules: Rules of the store.
    """

    def __init__(self, server: Server, rules: StoreRules) -> None:
        self._server = server
        self._key = registry_key(rules.prefix)
        self._life_ms = rules.idle_ms + rules.idle_ms // 2
        self._due: dict[str, int] = {}
        self._failed = False

    @property
    def is_behind(self) -> bool:
        """True when circuits are still to be entered: the next report should try again."""
        return bool(self._due)

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
        if not self._due or not now_ms:
            return
        due = self._take_due()
        if not due:
            return
        try:
            self._write(due, now_ms)
            self._failed = False
        except StoreError as error:
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
        members = self._raise_first(self._server.pipeline([("ZRANGE", self._key, 0, -1)]))
        return sorted(name for member in members if (name := _good_id(member)) is not None)

    def drop(self, service: str) -> None:
        """Take a service out.

        Raises:
            StoreError: The list can not be written.
        """
        self._raise_first(self._server.pipeline([("ZREM", self._key, service)]))

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
        self._raise_first(
            self._server.pipeline(
                [
                    ("ZADD", self._key, *entries),
                    ("ZREMRANGEBYSCORE", self._key, "-inf", f"({now_ms}"),
                    ("PEXPIRE", self._key, life_ms),
                ]
            )
        )

    def _raise_first(self, replies: list[object]) -> list[bytes]:
        """Return the first reply, when none is an error."""
        for reply in replies:
            if isinstance(reply, Exception):
                if is_wrong_type(reply):
                    raise self._server.explain_type({self._key: "zset"}) from reply
                raise self._server.explain_plain(reply, self._key) from reply
        return replies[0] if isinstance(replies[0], list) else []


def _remaining_ms(view: CircuitView) -> int:
    return max(0, view.until_ms - view.now_ms) if view.state is CircuitState.OPEN else 0


def _good_id(member: bytes) -> str | None:
    try:
        return check_service_id(member.decode())
    except ValueError:
        return None
