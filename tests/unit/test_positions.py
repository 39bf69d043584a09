"""What is told of a circuit, by its messages and by the last entry of its history."""

from __future__ import annotations

import pytest

from bb5_breaker._bus.positions import News, Position, Span, place_of
from bb5_breaker._store.entry_ids import BEGINNING, EntryId, Since
from bb5_breaker._store.event_log import Entry
from bb5_breaker.events import CircuitEvent, EventMetadata, EventType


def transition(generation: int, ms: int | None = None, epoch: str = "e") -> CircuitEvent:
    """Return a transition as a script announces it."""
    place = f"{1000 + generation if ms is None else ms}-{generation}"
    metadata = EventMetadata(f"{place}:svc", EventType.CIRCUIT_OPENED, "2025-01-18T10:30:00Z")
    data = {"service": "svc", "state": "open", "generation": generation, "epoch": epoch}
    return CircuitEvent(metadata, data)


def entry(event: CircuitEvent) -> Entry:
    """Return the entry of a transition."""
    return Entry(where(event), event)


def where(event: CircuitEvent) -> EntryId:
    """Return its place."""
    place = place_of(event)
    assert place is not None
    return place


def hear(position: Position, event: CircuitEvent) -> News:
    """Take a message as the follower does when it need not look."""
    news = position.judge(event, where(event))
    if news is News.NEXT:
        position.tell(event, where(event))
    return news


def begun(generation: int) -> Position:
    """Return the position of one who came when a circuit was in its so-many-th state."""
    position = Position(BEGINNING)
    position.begin_at(entry(transition(generation)))
    return position


def test_the_very_next_is_told_as_it_comes() -> None:
    """Once; a second time it is known."""
    position = begun(3)
    assert hear(position, transition(4)) is News.NEXT
    assert hear(position, transition(4)) is News.KNOWN
    assert hear(position, transition(3)) is News.KNOWN
    assert hear(position, transition(5)) is News.NEXT
    assert position.last_told == EntryId(1005, 5)


@pytest.mark.parametrize(
    "event", [transition(6), transition(4, epoch="other"), transition(1, 5000, "other")]
)
def test_after_a_gap_the_history_is_looked_at(event: CircuitEvent) -> None:
    """A generation was left out, or it is another life."""
    position = begun(3)
    assert hear(position, event) is News.GAP
    span = position.read(entry(event))
    assert span is not None
    assert (span.start, span.end) == (EntryId(1003, 3), where(event))
    assert hear(position, event) is News.KNOWN


def test_the_first_transition_of_a_new_circuit_needs_no_look() -> None:
    """Nothing can have been before it."""
    assert hear(Position(EntryId(500, 0)), transition(1)) is News.NEXT
    assert hear(Position(EntryId(500, 0)), transition(2)) is News.GAP


def test_what_was_told_by_messages_is_not_told_again() -> None:
    """The part that is read tells which ids to leave out."""
    position = begun(1)
    for generation in (2, 3):
        hear(position, transition(generation))
    span = position.read(entry(transition(6)))
    assert span is not None
    assert {"1002-2:svc", "1003-3:svc"} <= span.skip
    assert (span.generation, span.epoch) == (3, "e")


def test_a_look_that_finds_the_last_told_reads_nothing() -> None:
    """Between it and the place before, all came one after the other."""
    position = begun(1)
    hear(position, transition(2))
    assert position.read(entry(transition(2))) is None
    assert position.read(entry(transition(2))) is None
    assert hear(position, transition(3)) is News.NEXT


def test_a_forged_message_does_not_hide_the_true_one() -> None:
    """They have the same generation; the true one comes as a gap and is read."""
    position = begun(1)
    forged = transition(2, 9_999_999)
    assert hear(position, forged) is News.NEXT
    assert hear(position, transition(2)) is News.GAP
    assert position.read(entry(transition(2))) == Span(
        EntryId(1001, 1),
        EntryId(1002, 2),
        frozenset({"1001-1:svc", forged.metadata.event_id}),
        2,
        "e",
    )


def test_a_history_that_lost_its_end_goes_on_from_what_is_remembered() -> None:
    """After a failover, with a clock that is behind: nothing new is missed, nothing told twice."""
    position = begun(1)
    for generation in (2, 3, 4):
        hear(position, transition(generation))
    position.read(entry(transition(4)))
    other = transition(3, 1002, "e")
    assert position.judge(other, where(other)) is News.KNOWN
    later = transition(5, 1002)
    assert position.judge(later, where(later)) is News.GAP
    span = position.read(entry(later))
    assert span is not None
    assert (span.start, span.end, span.generation) == (EntryId(1001, 1), EntryId(1002, 5), None)
    assert {"1001-1:svc", "1002-2:svc", "1003-3:svc", "1004-4:svc"} <= span.skip


def test_a_history_that_began_anew_is_read_from_its_beginning() -> None:
    """Its ids are lower than all that is remembered."""
    position = begun(5)
    anew = transition(1, 3, "new")
    assert position.judge(anew, where(anew)) is News.GAP
    span = position.read(entry(anew))
    assert span is not None
    assert (span.start, span.end) == (BEGINNING, EntryId(3, 1))


@pytest.mark.parametrize(
    ("event_id", "epoch"), [("7-1:other", "e"), ("7-1", "e"), ("x:svc", "e"), ("7-1:svc", "")]
)
def test_what_no_script_announced_stands_nowhere(event_id: str, epoch: str) -> None:
    """It is told as it comes."""
    metadata = EventMetadata(event_id, EventType.CIRCUIT_OPENED, "t")
    data = {"service": "svc", "state": "open", "generation": 1, "epoch": epoch}
    assert place_of(CircuitEvent(metadata, data)) is None


def test_since_an_event_of_one_circuit() -> None:
    """Of others all is told from its millisecond on, as nobody knows which came first."""
    since = Since.parse("1700000000000-3:svc")
    assert since is not None
    assert since.place_in("svc") == EntryId(1_700_000_000_000, 3)
    assert since.place_in("other") == EntryId(1_699_999_999_999, 2**64 - 1)
    assert Since.parse("now") is None
    beginning = Since.parse("beginning")
    assert beginning is not None
    assert beginning.place_in("svc") == BEGINNING
