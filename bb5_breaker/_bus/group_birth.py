"""From where on a group is told, kept in Redis for all its consumers."""

from __future__ import annotations

import re
from typing import Any, Final

from bb5_breaker._store.entry_ids import BEGINNING, EntryId, Since
from bb5_breaker._store.keys import group_key
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.exceptions import StoreDataError, StoreError
from bb5_breaker.service_id import check_service_id

__all__ = ["GroupBirth", "check_group", "read_start"]

_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_LIFE_MS: Final = 28 * 86_400_000


def check_group(name: object) -> str:
    """Return ``name`` when it is a good one for a group.

    Raises:
        ValueError: It is no text of 1 to 64 ASCII letters, digits, ``_``, ``.``, ``:`` or ``-``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            "group must be a str of 1 to 64 ASCII letters, digits, '_', '.', ':' or '-', "
            f"got {name!r:.100}"
        )
    return name


def read_start(since: object) -> Since | None:
    """Return the place that "beginning" or an event id names; None for "now".

    Raises:
        ValueError: It is none of these.
    """
    start = Since.parse(since)
    if start is not None and start.service is not None:
        check_service_id(start.service)
    return start


class GroupBirth:
    """The start of one group, for the streams of all circuits.

    A circuit's stream learns of a group only when a consumer finds that it does not know it: the
    circuit may be new, or its stream may have expired and begun anew. The group then begins
    there at its birth, so nothing that happened since is left out and nothing older is told.

    The key has a time to live, which consumers prolong. Where it was lost, a consumer that knows
    the birth writes it again; of two births the earlier is right. Used by one thread at a time.

    Args:
        store: Where the circuits are.
        group: A checked name.
        wanted: From where on the group is told when this consumer is its first; None from now on.
    """

    def __init__(self, store: RedisStore, group: str, wanted: Since | None) -> None:
        self._store = store
        self._key = group_key(store.rules.prefix, group)
        self._wanted = wanted
        self._start: Since | None = None

    def settle(self) -> None:
        """Find out when the group was born; it is born now when it was not.

        Raises:
            StoreError: The server can not be reached or refused, or the key is of somebody else.
        """
        self._start = self._agree(self._wanted or Since(self._server_time(), None))

    def renew(self) -> None:
        """Prolong the life of the key.

        Raises:
            StoreError: As in :meth:`settle`; what is known stays in force.
        """
        known = self._start
        if known is None:
            self.settle()
            return
        kept = self._agree(known)
        if kept.entry_id < known.entry_id:
            self._start = kept
        elif kept != known:
            self._run((b"SET", self._key, _write(known), b"PX", _LIFE_MS))

    def place_in(self, service: str) -> EntryId:
        """Return the entry of one circuit after which the group is told."""
        return BEGINNING if self._start is None else self._start.place_in(service)

    def _agree(self, start: Since) -> Since:
        _, _, kept = self._run(
            (b"SET", self._key, _write(start), b"NX", b"PX", _LIFE_MS),
            (b"PEXPIRE", self._key, _LIFE_MS),
            (b"GET", self._key),
        )
        try:
            found = read_start((kept or b"").decode())
        except ValueError:
            found = None
        if found is None:
            key = self._key.decode()
            raise StoreDataError(
                f"Redis at {self._store.address}: {key} does not say when the group was born; "
                "delete that key, or choose another name for the group"
            )
        return found

    def _server_time(self) -> EntryId:
        seconds, micros = self._run((b"TIME",))[0]
        return EntryId(int(seconds) * 1000 + int(micros) // 1000, 0)

    def _run(self, *commands: tuple[Any, ...]) -> list[Any]:
        replies = self._store.run_plain([(self._key, words) for words in commands], "string")
        for reply in replies:
            if isinstance(reply, StoreError):
                raise reply
        return replies


def _write(start: Since) -> str:
    return f"{start.entry_id}:{start.service}" if start.service else str(start.entry_id)
