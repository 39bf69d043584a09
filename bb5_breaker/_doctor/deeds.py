"""The rights that a user of Redis needs, each as a command that the library sends with it.

This is the one list: the lines for ``ACL SETUSER`` are made of it, and doctor tries what is in
it. A test runs the library as users who have these rights and no other, and takes each away.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

from bb5_breaker._bus.notifications import expiry_pattern
from bb5_breaker._doctor.role import Role
from bb5_breaker._store.identity import new_token
from bb5_breaker._store.keys import CircuitKeys, group_key, registry_key

__all__ = ["Deed", "acl_line", "deeds_of", "rights_of"]

_WIDTH: Final = 96
_CONTAINERS: Final = frozenset({"SCRIPT", "XGROUP", "XINFO"})


# INFO tells the version; MULTI lets doctor find out about the others without doing anything.
_EVERYONE: Final = """
INFO server
MULTI
PING
EVALSHA 0000000000000000000000000000000000000000 1 {circuit}
EVAL return 1 {circuit}
HMGET {circuit} state
HGETALL {circuit}
TIME
TYPE {circuit}
XRANGE {events} - + COUNT 1
XREVRANGE {events} + - COUNT 1
ZCOUNT {probes} 0 1
ZRANGE {services} 0 -1
ZRANGEBYSCORE {probes} 0 1
"""
_BREAKER: Final = (
    _EVERYONE
    + """
DEL {cooldown}
GET {sender}
HDEL {circuit} opened_ms
HSET {circuit} failures 0
PEXPIRE {circuit} 1
PUBLISH {channel} -
PUBLISH {views} -
SET {sender} 1 PX 1
SUBSCRIBE {channel}
SUBSCRIBE {views}
UNSUBSCRIBE {channel}
XADD {events} * state closed
XLEN {events}
XTRIM {events} MAXLEN 1000000
ZADD {services} XX 0 -
ZCARD {window}
ZREM {services} -
ZREMRANGEBYSCORE {window} 0 0
ZSCORE {probes} -
"""
)
_BUS: Final = (
    _BREAKER
    + """
GET {group}
PSUBSCRIBE {channels}
PSUBSCRIBE {expiries}
PUNSUBSCRIBE {channels}
XACK {events} doctor 0-1
XCLAIM {events} doctor doctor 1 0-1
XGROUP CREATE {events} doctor 0
XGROUP DELCONSUMER {events} doctor doctor
XINFO CONSUMERS {events} doctor
XINFO GROUPS {events}
XPENDING {events} doctor
XREADGROUP GROUP doctor doctor COUNT 1 STREAMS {events} >
"""
)
_READER: Final = (
    _EVERYONE
    + """
PSUBSCRIBE {channels}
PTTL {circuit}
SCAN 0 MATCH - COUNT 1
"""
)
_DEEDS: Final = {Role.BREAKER: _BREAKER, Role.BUS: _BUS, Role.READER: _READER}


@dataclass(frozen=True, slots=True)
class Deed:
    """A command that a user must be allowed.

    Args:
        words: The command; carried out, it would change nothing of any circuit.
        command: The rule of an ACL that allows the command, like ``+hset``.
        place: The rule that allows its key or channel; None when it has none.
    """

    words: tuple[str, ...]
    command: str
    place: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """A key or channel of a circuit that nobody has, and the rule that allows it."""

    name: str
    rule: str


def deeds_of(role: Role, prefix: str, database: int) -> list[Deed]:
    """Return the commands that a role needs.

    Args:
        role: What the user is for.
        prefix: Beginning of the names of keys and channels, checked.
        database: Number of the database.
    """
    places = _places(prefix, database)
    deeds = [_deed(line.split(" "), places) for line in _DEEDS[role].split("\n") if line]
    return [_deed(["SELECT", str(database)], places), *deeds] if database else deeds


def rights_of(role: Role, prefix: str, database: int) -> list[str]:
    """Return the rules of an ACL that grant a role what it needs and nothing else."""
    deeds = deeds_of(role, prefix, database)
    places = {deed.place for deed in deeds if deed.place is not None}
    # Keys, then channels, then commands.
    return [
        *sorted(places, key=lambda rule: (rule[0] == "&", rule)),
        *sorted({deed.command for deed in deeds}),
    ]


def acl_line(role: Role, prefix: str, database: int) -> str:
    """Return a command for a shell that makes a user for a role, over several lines."""
    words = ["redis-cli", "ACL", "SETUSER", f"bb5-{role}", "reset", "on", ">PASSWORD"]
    words += ["resetchannels", *rights_of(role, prefix, database)]
    lines = [""]
    for word in map(shlex.quote, words):
        if len(lines[-1]) + len(word) > _WIDTH:
            lines[-1] += "\\"
            lines.append("  ")
        lines[-1] += f"{word} "
    return "\n".join(lines).rstrip()


def _deed(words: list[str], places: dict[str, _Place]) -> Deed:
    container = words[0] in _CONTAINERS
    command = "|".join(words[: 2 if container else 1]).lower()
    used = [places[word[1:-1]] for word in words if word[0] == "{"]
    named = tuple(places[word[1:-1]].name if word[0] == "{" else word for word in words)
    return Deed(named, f"+{command}", used[0].rule if used else None)


def _places(prefix: str, database: int) -> dict[str, _Place]:
    service = f"doctor-{new_token()}"
    keys = CircuitKeys.of(prefix, service)
    every = f"~{CircuitKeys.of(prefix, '*').circuit.decode()}*"
    channels, views = f"{prefix}.*", f"{prefix}:views"
    expiries = expiry_pattern(prefix, database)
    registry = registry_key(prefix).decode()
    return {
        "circuit": _Place(keys.circuit.decode(), every),
        "window": _Place(keys.window.decode(), every),
        "probes": _Place(keys.probes.decode(), every),
        "cooldown": _Place(keys.cooldown.decode(), every),
        "events": _Place(keys.events.decode(), every),
        "sender": _Place(keys.sender("doctor").decode(), every),
        "services": _Place(registry, f"~{registry}"),
        "group": _Place(group_key(prefix, service).decode(), f"~{group_key(prefix, '*').decode()}"),
        "channel": _Place(f"{prefix}.{service}", f"&{channels}"),
        "channels": _Place(channels, f"&{channels}"),
        "views": _Place(views, f"&{views}"),
        "expiries": _Place(expiries, f"&{expiries}"),
    }
