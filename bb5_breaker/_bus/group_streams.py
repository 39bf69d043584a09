"""What one consumer of a group asks of the circuits' streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from bb5_breaker._bus.group_birth import GroupBirth
from bb5_breaker._bus.group_places import Place, Survey, Taken
from bb5_breaker._store.entry_ids import EntryId
from bb5_breaker._store.event_log import Entry, EventLog
from bb5_breaker._store.identity import new_token
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.exceptions import StoreError, StoreUnavailableError

__all__ = ["GroupStreams"]

# A consumer's name is given up after the first, and removed from the streams after the second:
# so nobody reads under a name in the moment in which it is removed.
_NAME_SECONDS: Final = 3600.0
_FORGET_MS: Final = 2 * 3_600_000
_GREATEST_NUMBER: Final = 2**64 - 1
# Told by words with white space, which no service id has.
_NO_GROUP: Final = "NOGROUP No such"
# A stream may come and go, and another consumer make the group, between any two commands.
_EXPECTED: Final = (
    _NO_GROUP,
    "no such key",
    "requires the key to exist",
    "BUSYGROUP Consumer Group",
)


class GroupStreams:
    """Reads, claims and acknowledges for one consumer. For use by one thread.

    A name of this consumer is in use for an hour at most: see :meth:`forget_names`.

    Args:
        store: Where the circuits are.
        group: A checked name.
        birth: From where on the group is told.
        complain: Called with the error of a circuit whose stream can not be used.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        store: RedisStore,
        group: str,
        birth: GroupBirth,
        complain: Callable[[StoreError], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._log = EventLog(store)
        self._group = group
        self._birth = birth
        self._complain = complain
        self._clock = clock
        self._name, self._named_at = new_token(), clock()

    def survey(self, services: Sequence[str]) -> Survey:
        """Look for work in many streams.

        Raises:
            StoreError: The server can not be reached.
        """
        starts: dict[str, EntryId] = {}
        pending: list[str] = []
        for service, mine in self._look(services).items():
            if mine is None:
                # Whoever takes the first of it makes the group there.
                starts[service] = self._birth.place_in(service)
                continue
            starts[service] = EntryId.parse(mine[b"last-delivered-id"].decode())
            if mine[b"pending"]:
                pending.append(service)
        # Asked for after the group's own place, so what is added meanwhile is news as well.
        found = self._log.read_after(starts, 1)
        return Survey(
            [each for each, entries in found.items() if isinstance(entries, list) and entries],
            pending,
        )

    def take(self, service: str) -> Taken | None:
        """Return the next transition that nobody has been given; None when there is none.

        Raises:
            StoreError: The server can not be reached.
        """
        reply = self._read_new(service)
        if isinstance(reply, StoreError) and _NO_GROUP in reply.message:
            self._begin(service)
            reply = self._read_new(service)
        if isinstance(reply, StoreError) or not reply:
            return None
        ((_, ((entry_id, _),)),) = reply
        place = Place(service, EntryId.parse(entry_id.decode()))
        return Taken(place, 1, self._fetch(place))

    def find_overdue(self, start: Place, idle_ms: int) -> Place | None:
        """Return the first entry after a place that somebody was given and has kept too long.

        Args:
            start: Where to begin, this place left out.
            idle_ms: How long an entry may be kept, in milliseconds.

        Raises:
            StoreError: The server can not be reached.
        """
        key, after = self._key(start.service), f"({start.entry_id}"
        (reply,) = self._ask(
            [(key, (b"XPENDING", key, self._group, "IDLE", idle_ms, after, "+", 1))]
        )
        if isinstance(reply, StoreError) or not reply:
            return None
        return Place(start.service, EntryId.parse(reply[0][0].decode()))

    def claim(self, place: Place, idle_ms: int) -> Taken | None:
        """Return an overdue entry, taken from whoever had it; None when somebody was faster.

        One that is gone from the stream is not claimed, as servers differ in what becomes of it.

        Raises:
            StoreError: The server can not be reached.
        """
        entry = self._fetch(place)
        if entry is None:
            return Taken(place, 0, None)
        key, name, entry_id = self._key(place.service), self._own_name(), str(place.entry_id)
        claimed, kept = self._ask(
            [
                (key, (b"XCLAIM", key, self._group, name, idle_ms, entry_id)),
                (key, (b"XPENDING", key, self._group, entry_id, entry_id, 1)),
            ]
        )
        if isinstance(claimed, StoreError) or claimed in ([], [None]):
            return None
        # Whoever had it may have acknowledged it at the last moment.
        if isinstance(kept, StoreError) or not kept or kept[0][1] != name.encode():
            return None
        return Taken(place, kept[0][3], entry)

    def acknowledge(self, place: Place) -> bool:
        """Tell the group that an entry is done with; False when it was told before.

        Raises:
            StoreError: The server can not be reached.
        """
        key = self._key(place.service)
        (reply,) = self._ask([(key, (b"XACK", key, self._group, str(place.entry_id)))])
        return not isinstance(reply, StoreError) and bool(reply)

    def forget_names(self, services: Sequence[str]) -> None:
        """Remove the names of consumers that are gone, as far as they hold nothing.

        Raises:
            StoreError: The server can not be reached.
        """
        keys = [self._key(each) for each in services]
        replies = self._ask([(key, (b"XINFO", "CONSUMERS", key, self._group)) for key in keys])
        gone = [
            (key, (b"XGROUP", "DELCONSUMER", key, self._group, each[b"name"]))
            for key, reply in zip(keys, replies, strict=True)
            if not isinstance(reply, StoreError)
            for each in map(_fields, reply)
            if not each[b"pending"] and each[b"idle"] > _FORGET_MS
        ]
        self._ask(gone)

    def _look(self, services: Sequence[str]) -> dict[str, dict[bytes, Any] | None]:
        """Return what each stream knows of the group, None for nothing; of streams alone."""
        keys = [self._key(each) for each in services]
        replies = self._ask([(key, (b"XINFO", "GROUPS", key)) for key in keys])
        name = self._group.encode()
        return {
            service: next((each for each in map(_fields, reply) if each[b"name"] == name), None)
            for service, reply in zip(services, replies, strict=True)
            if not isinstance(reply, StoreError)
        }

    def _begin(self, service: str) -> None:
        """Make the group known to a stream that is there; never a stream without an end of life."""
        key, start = self._key(service), str(self._birth.place_in(service))
        self._ask([(key, (b"XGROUP", "CREATE", key, self._group, start))])

    def _read_new(self, service: str) -> Any | StoreError:
        # One at a time: what waits in this process for its turn would soon be overdue.
        key, name = self._key(service), self._own_name()
        words = (b"XREADGROUP", "GROUP", self._group, name, "COUNT", 1, "STREAMS", key, ">")
        return self._ask([(key, words)])[0]

    def _fetch(self, place: Place) -> Entry | None:
        ms, number = place.entry_id
        before = EntryId(ms, number - 1) if number else EntryId(ms - 1, _GREATEST_NUMBER)
        entries = self._log.read_after({place.service: before}, 1)[place.service]
        if isinstance(entries, StoreError):
            raise entries
        return next((each for each in entries if each.entry_id == place.entry_id), None)

    def _own_name(self) -> str:
        if self._clock() - self._named_at > _NAME_SECONDS:
            self._name, self._named_at = new_token(), self._clock()
        return self._name

    def _key(self, service: str) -> bytes:
        return CircuitKeys.of(self._store.rules.prefix, service).events

    def _ask(self, commands: list[tuple[bytes, tuple[Any, ...]]]) -> list[Any | StoreError]:
        replies = self._store.run_plain(commands, "stream")
        away = [reply for reply in replies if isinstance(reply, StoreUnavailableError)]
        if away and len(away) == len(replies):
            raise away[0]
        # Where only a part of a Cluster is away, its circuits are passed over this time.
        for reply in replies:
            if isinstance(reply, StoreError) and reply not in away and not _is_expected(reply):
                self._complain(reply)
        return replies


def _is_expected(error: StoreError) -> bool:
    return any(words in error.message for words in _EXPECTED)


def _fields(words: list[Any]) -> dict[bytes, Any]:
    return dict(zip(words[::2], words[1::2], strict=True))
