"""Whatever a script is called with and finds, it names what is wrong and leaves all as it was."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from bb5_breaker._store.decoding import read_snapshot
from tests.server.script_cases import STATES, Called, Case, Plan, Stage, Words, plans
from tests.support.servers import RunningServer, discover

pytestmark = pytest.mark.calm

# The first server meets all cases, the others one in so many.
_PART = 11
_NO_NUMBERS = (
    b"",
    b"abc",
    b"-1",
    b"1.5",
    b"nan",
    b"-nan",
    b"inf",
    b"-inf",
    b"1e300",
    b"0x10",
    b" 7",
    b"0",
    b"1e15",
    b"9007199254740993",
    b"9" * 20,
    b"9" * 400,
    b"\xff\x00\n\xfe",
    b"x" * 10_000,
)
# Of these each field of a circuit gets one after the other.
_DAMAGE = (b"", b"abc", b"-1", b"1.5", b"nan", b"inf", b"0x10", b"9" * 20, b"\xff\x00\n\xfe")
_NO_POLICIES = (
    "4",
    "4,3",
    "4,3,86400000",
    "{}",
    "4,3,86400000,60000,2,2,10000,10000,256,604800000",
)
# Any text will do for these.
_FREE = {"service", "owner", "epoch", "token", "error"}
_FIELDS = ("rejections", "transitions", "successes", "streak_ms", "epoch", "unknown")
_MAKERS: dict[str, Words] = {
    "string": ("SET", "foreign"),
    "list": ("RPUSH", "foreign"),
    "set": ("SADD", "foreign"),
    "hash": ("HSET", "foreign", "1"),
    "zset": ("ZADD", "1", "foreign"),
    "stream": ("XADD", "*", "foreign", "1"),
}
_SCORES = ("inf", "-inf", "1e300", "1.5", "4")
_MEMBERS = ("foreign", "5:success:1", ":failure:", "t1")
_IDS = (
    "18446744073709551615-18446744073709551615",
    "253402300800000-1",
    "1900000120000-18446744073709551615",
    "9999999999999-5",
)
_CODES = ("BB5ARG", "BB5DATA", "WRONGTYPE")


def wrong_arguments(stage: Stage, plan: Plan) -> Iterator[Case]:
    """Return calls with one argument wrong, with too few, and with too many."""
    good, names = stage.arguments(plan), plan.names
    for place, name in enumerate(names):
        # Where several are missing, any of them may be named.
        yield Case(f"up to {name}", (), good[:place], (*names[place:], "arguments"))
        policies = _broken_policies(str(good[place])) if name == "policy" else ()
        for value in (*_NO_NUMBERS, *policies):
            argv = (*good[:place], value, *good[place + 1 :])
            yield Case(f"{name} {value!r:.30}", (), argv, _words_for(name))
    for more in (("x",), ("success",), ("x", "y"), ("failure", "1")):
        yield Case(f"and {more}", (), good + more, ("outcome", "count", "arguments"))


def _broken_policies(good: str) -> Iterator[str]:
    parts = good.removeprefix("b'").removesuffix("'").split(",")
    yield from _NO_POLICIES
    yield ",".join([*parts, "x"])
    for place in range(len(parts)):
        for value in ("", "0", "-1", "1.5", "x", "1e5", "9007199254740991", "9" * 30):
            yield ",".join([*parts[:place], value, *parts[place + 1 :]])


def _words_for(name: str) -> tuple[str, ...]:
    if name == "policy":
        # A number in it has a name of its own.
        return ("policy", "threshold", "window", "_ms", "half_open", "history")
    if name == "now_ms":
        return ("now_ms", "age_ms must be at most the time")
    return (name,)


def wrong_content(stage: Stage, plan: Plan) -> Iterator[Case]:
    """Return good calls on keys that hold what scripts never write."""
    argv = stage.arguments(plan)
    key = stage.keys["circuit"]
    for field in sorted({*(name.decode() for name in stage.hash), *_FIELDS}):
        damages: list[Words] = [("HDEL", key, field)]
        damages += [("HSET", key, field, value) for value in _DAMAGE]
        for damage in damages:
            yield Case(f"{field} {damage!r:.80}", (damage,), argv, (f'"{field}"',))
    for name, key in stage.keys.items():
        for kind, (command, *rest) in _MAKERS.items():
            made: tuple[Words, ...] = (("DEL", key), (command, key, *rest))
            yield Case(f"{name} a {kind}", made, argv, ("WRONGTYPE", key))
    for name in ("sender", "forgotten"):
        for value in _NO_NUMBERS:
            yield Case(f"{name} {value!r:.30}", (("SET", stage.keys[name], value),), argv, ("",))
    yield from _foreign_members(stage, argv)


def _foreign_members(stage: Stage, argv: Words) -> Iterator[Case]:
    for name in ("window", "probes"):
        key = stage.keys[name]
        yield Case(f"{name} gone", (("DEL", key),), argv, (key,))
        for score in _SCORES:
            for member in _MEMBERS:
                damage: Words = ("ZADD", key, score, member)
                yield Case(f"{name} {score} {member}", (damage,), argv, (key,))
    key = stage.keys["events"]
    for entry in _IDS:
        added: Words = ("XADD", key, entry, "foreign", "1")
        yield Case(f"entry {entry}", (added,), argv, (key,))
        yield Case(f"entry {entry} gone", (added, ("XDEL", key, entry)), argv, (key,))


def faults_of(called: Called) -> Iterator[str]:
    """Return what is wrong with what came of a call."""
    case, reply = called.case, called.reply
    if not isinstance(reply, Exception):
        try:
            called.read()
        except (ValueError, KeyError) as error:
            if not any(name in str(error) for name in case.named if name):
                yield f"{case.label}: a reply that can not be read: {reply!r:.200}"
        return
    text = str(reply)
    if not any(code in text for code in _CODES) or "attempt to" in text:
        yield f"{case.label}: a raw error: {text:.200}"
    elif not any(name in text for name in case.named):
        yield f"{case.label}: an error that names nothing: {text:.200}"
    if called.touched:
        yield f"{case.label}: refused, but it changed {called.touched}: {text:.200}"
    # Only that of an entry cannot be foreseen: the stream's last id was deleted with it.
    if called.published and "takes no more entries" not in text:
        yield f"{case.label}: refused, but it published: {text:.200}"


def is_whole(called: Called) -> bool:
    """Tell whether the circuit can be read after a call."""
    try:
        read_snapshot(called.shown)
    except (ValueError, TypeError, AttributeError):
        return False
    return True


def share_of(server: RunningServer, cases: Iterator[Case], offset: int) -> list[Case]:
    """Return the cases that a server meets."""
    if server.kind == discover()[0]:
        return list(cases)
    return list(islice(cases, offset % _PART, None, _PART))


@pytest.fixture(params=STATES)
def stage(request: pytest.FixtureRequest, server: RunningServer, prefix: str) -> Iterator[Stage]:
    """A circuit in each state."""
    with server.client() as client:
        stage = Stage(client, server.url, prefix, request.param)
        yield stage
        stage.close()


def test_wrong_arguments_are_named_and_change_nothing(server: RunningServer, stage: Stage) -> None:
    """Missing, empty, no number, negative, fractional, huge, binary: refused, or harmless."""
    faults = []
    for number, plan in enumerate(plans()):
        for called in stage.call(plan, share_of(server, wrong_arguments(stage, plan), number)):
            found = list(faults_of(called))
            if not isinstance(called.reply, Exception) and not is_whole(called):
                found.append(f"{called.case.label}: taken, and the circuit is damaged by it")
            faults += [f"{plan.name} {plan.changes}: {fault}" for fault in found]
    assert faults == []


def test_wrong_content_is_named_or_healed_and_nothing_is_halved(
    server: RunningServer, stage: Stage
) -> None:
    """Fields, keys of a wrong type, foreign members and entries: an error changes nothing."""
    faults = []
    for number, plan in enumerate(plans()):
        for called in stage.call(plan, share_of(server, wrong_content(stage, plan), number)):
            faults += [f"{plan.name} {plan.changes}: {fault}" for fault in faults_of(called)]
    assert faults == []


def test_good_calls_are_answered(server: RunningServer, stage: Stage) -> None:
    """What the other tests spoil is a good call to begin with, of each script in each state."""
    for plan in plans():
        [called] = stage.call(plan, [Case("good", (), stage.arguments(plan), ())])
        assert list(faults_of(called)) == []
        assert not isinstance(called.reply, Exception), (plan, called.reply)
        assert is_whole(called)
