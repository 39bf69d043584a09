"""The invariants of a soak, looked for in what processes wrote down and the server did."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from .fleet import Hand
from .records import CallRecord, EventRecord, HealthRecord, Record, read_journal
from .rules import HEARTBEAT, SERVICES
from .weather import Disturbance
from .witness import Transition, Witness

__all__ = ["History", "find_violations"]

# Sixteen for calls, three plain ones, one that listens, and two of the bus.
_MOST_SOCKETS = 24
_MOST_THREADS = 32
_MOST_GROWTH_KIB = 64 * 1024
# What a busy machine may add before a process does what it should.
_SLACK = 0.4
# For as long as that a process may go by a view that nothing confirms.
_BELIEF = 2 * HEARTBEAT + _SLACK
_STEPS = {"closed": {"open"}, "open": {"half_open", "closed"}, "half_open": {"open", "closed"}}


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of a soak.

    Args:
        hands: The processes.
        witness: What the server did.
        disturbances: When the way to it was not well.
        calm_from: From when on nothing was done any more; Unix time.
        ended: When the fleet was told to end.
    """

    hands: list[Hand]
    witness: Witness
    disturbances: list[Disturbance]
    calm_from: float
    ended: float


def find_violations(history: History) -> Iterator[str]:
    """Yield what was not as it must be, a line or more each."""
    yield from history.witness.violations
    yield from _find_wrong_steps(history.witness)
    for hand in history.hands:
        records = list(read_journal(hand.journal))
        for violation in _find_in_process(history, hand, records):
            yield f"{hand.journal.name}: {violation}"


def _find_in_process(history: History, hand: Hand, records: list[Record]) -> Iterator[str]:
    calls = [record for record in records if isinstance(record, CallRecord)]
    yield from _find_failed(calls)
    yield from _find_backward(calls, history.witness.losses)
    events = [one for one in records if isinstance(one, EventRecord)]
    yield from _find_told_twice(events, history.witness.losses)
    yield from _find_growth([one for one in records if isinstance(one, HealthRecord)])
    yield from _find_calls_of_open(history, hand, calls)
    yield from _find_early(history, hand, calls)
    yield from _find_wedged(history, hand, calls)


def _find_failed(calls: list[CallRecord]) -> Iterator[str]:
    for call in calls:
        if call.verdict == "x":
            yield f"a call failed because of the store: {call}"


def _find_backward(calls: list[CallRecord], losses: list[tuple[float, str]]) -> Iterator[str]:
    """Generations of one life only grow, as a process is let through by them."""
    seen: dict[tuple[str, str], CallRecord] = {}
    # Of tasks one may be let through before another and write it down after it.
    for call in sorted(calls, key=lambda one: one.at):
        if call.verdict == "r" or not call.epoch:
            continue
        before = seen.get((call.service, call.epoch))
        seen[call.service, call.epoch] = call
        if before is None or call.generation >= before.generation or call.asked <= before.at:
            continue
        if not _was_lost(losses, call.service, before.at, call.at):
            yield f"a generation went back:\n  {before}\n  {call}"


def _find_told_twice(events: list[EventRecord], losses: list[tuple[float, str]]) -> Iterator[str]:
    """Each transition is told once, and those of a life in their order."""
    ids: set[str] = set()
    last: dict[tuple[str, str], EventRecord] = {}
    for event in events:
        if event.event_id in ids:
            yield f"an event was told twice: {event}"
        ids.add(event.event_id)
        before = last.get((event.service, event.epoch))
        last[event.service, event.epoch] = event
        if before is None or event.generation > before.generation:
            continue
        if not _was_lost(losses, event.service, before.at, event.at):
            yield f"a generation was told after a later one:\n  {before}\n  {event}"


def _find_wrong_steps(witness: Witness) -> Iterator[str]:
    """Each transition follows the last one, and none is made twice.

    What is given back is the same state again, under its own number; those that follow are counted
    from there.
    """
    made: dict[tuple[int, str, str], dict[int, Transition]] = {}
    last: dict[tuple[str, str], Transition] = {}
    for one in witness.transitions:
        numbers = made.setdefault((one.life, one.service, one.epoch), {})
        if one.reason == "restored":
            for number in [number for number in numbers if number >= one.generation]:
                del numbers[number]
        if one.generation in numbers:
            yield f"a transition was made twice:\n  {numbers[one.generation]}\n  {one}"
        numbers[one.generation] = one
        before = last.get((one.service, one.epoch))
        last[one.service, one.epoch] = one
        if before is None or before.life != one.life or one.reason == "restored":
            continue
        if one.generation <= before.generation or one.state not in _STEPS[one.previous]:
            yield f"a step that can not be:\n  {before}\n  {one}"


def _find_growth(looks: list[HealthRecord]) -> Iterator[str]:
    if not looks:
        return
    sockets, threads = max(one.sockets for one in looks), max(one.threads for one in looks)
    if sockets > _MOST_SOCKETS:
        yield f"{sockets} sockets were open"
    if threads > _MOST_THREADS:
        yield f"{threads} threads ran"
    if (grown := looks[-1].resident - looks[0].resident) > _MOST_GROWTH_KIB:
        yield f"it grew by {grown} KiB"


def _find_calls_of_open(history: History, hand: Hand, calls: list[CallRecord]) -> Iterator[str]:
    """Nobody calls by a closed state for longer than a view may be believed after a trip."""
    for service in SERVICES:
        made = [one for one in history.witness.transitions if one.service == service]
        moments = [one.at for one in made]
        losses = [at for at, name in history.witness.losses if name == service]
        for call in calls:
            if call.service != service or call.verdict == "r" or call.state != "closed":
                continue
            index = bisect_right(moments, call.at) - 1
            if index < 0 or made[index].state != "open" or call.epoch.startswith("private@"):
                continue
            opened = made[index]
            # After a loss the circuit is another, until it is given back.
            lost = any(opened.at - 1.0 <= at <= call.at for at in losses)
            if (
                not lost
                and opened.at + _BELIEF < call.at < opened.until
                and not _was_disturbed(history, opened.at - 1.0, call.at)
                and not _was_stopped(hand, opened.at - 0.5, call.at)
            ):
                yield f"an open circuit was called:\n  {opened}\n  {call}"


def _find_early(history: History, hand: Hand, calls: list[CallRecord]) -> Iterator[str]:
    """Who was told until when a circuit is open does not call it before."""
    ends: dict[str, CallRecord] = {}
    for call in sorted(calls, key=lambda one: one.at):
        told = ends.get(call.service)
        if call.verdict == "r" and call.state == "open":
            ends[call.service] = call
        elif call.verdict in "sf" and told is not None and told.at < call.asked:
            del ends[call.service]
            if (
                call.at < told.until - 0.05
                and not _was_disturbed(history, told.at - 2.0, call.at)
                and not _was_stopped(hand, told.at - 2.0, call.at)
            ):
                yield f"a call {told.until - call.at:.2f} s too early:\n  {told}\n  {call}"


def _find_wedged(history: History, hand: Hand, calls: list[CallRecord]) -> Iterator[str]:
    """In the end, with all well again, each process goes on calling."""
    if hand.ended is not None:
        return
    late = [call for call in calls if call.at > history.ended - 1.5]
    if not late:
        yield "it made no call in the last seconds"
    elif (
        hand.started < history.calm_from
        and all(call.epoch.startswith("private@") for call in late if call.verdict != "r")
        and any(call.verdict != "r" for call in late)
    ):
        yield "it still guards its calls alone, though the server is well"


def _was_lost(losses: list[tuple[float, str]], service: str, begun: float, ended: float) -> bool:
    """Return True when numbers may come again.

    The first to give a circuit back may know less than others: one that was stopped, or whose
    connection was slow.
    """
    return any(name == service and begun - 2.0 < at < ended for at, name in losses)


def _was_disturbed(history: History, begun: float, ended: float) -> bool:
    # A process may need so long to find a server that is well again.
    return any(one.begun < ended and one.ended + 1.0 > begun for one in history.disturbances)


def _was_stopped(hand: Hand, begun: float, ended: float) -> bool:
    return any(first < ended and last + 0.2 > begun for first, last in hand.stops)
