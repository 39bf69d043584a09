"""Events on the wire: both formats, and payloads of whoever may publish on a channel."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bb5_breaker.events import (
    MAX_PAYLOAD,
    CircuitEvent,
    Event,
    EventMetadata,
    EventType,
    Topics,
    decode_event,
    encode_event,
)
from bb5_breaker.state import CircuitState

FORMATS = ("msgpack", "json")

METADATA = {
    "event_id": "1-0:mail",
    "event_type": "circuit.opened",
    "timestamp": "2025-01-18T10:30:00.000Z",
    "priority": "high",
    "source": "circuit_breaker.mail",
    "correlation_id": None,
    "causation_id": None,
    "version": "1.0",
}
DATA = {
    "service": "mail",
    "state": "open",
    "failure_count": 5,
    "last_failure": "2025-01-18T10:30:00.000Z",
    "generation": 3,
}


def pack(envelope: Any, event_format: str) -> bytes:
    """Return a payload as a stranger would make it, without any check."""
    if event_format == "json":
        return json.dumps(envelope).encode()
    return bytes(msgpack.packb(envelope))


def changed(part: str, name: str, value: Any) -> dict[str, Any]:
    """Return a good envelope with one field of "metadata" or "data" replaced."""
    envelope: dict[str, Any] = {"metadata": dict(METADATA), "data": dict(DATA)}
    envelope[part][name] = value
    return envelope


def without(part: str, name: str) -> dict[str, Any]:
    """Return a good envelope without one field."""
    envelope = changed(part, name, None)
    del envelope[part][name]
    return envelope


@pytest.fixture(params=FORMATS)
def event_format(request: pytest.FixtureRequest) -> str:
    """Each of the two forms on the wire."""
    return str(request.param)


def test_a_transition_is_read_as_a_circuit_event(event_format: str) -> None:
    """What the scripts publish comes out with its types and properties."""
    event = decode_event(pack({"metadata": METADATA, "data": DATA}, event_format))
    assert isinstance(event, CircuitEvent)
    assert event.metadata.event_type is EventType.CIRCUIT_OPENED
    assert event.metadata.priority == "high"
    assert event.metadata.correlation_id is None
    assert (event.service, event.state) == ("mail", CircuitState.OPEN)
    assert (event.failure_count, event.generation) == (5, 3)
    assert event.data == DATA


def test_fields_that_the_specification_leaves_out_have_defaults(event_format: str) -> None:
    """Only id, type and time are needed, and of a transition service and state."""
    needed = {name: METADATA[name] for name in ("event_id", "event_type", "timestamp")}
    envelope = {"metadata": needed, "data": {"service": "mail", "state": "half_open"}}
    event = decode_event(pack(envelope, event_format))
    assert isinstance(event, CircuitEvent)
    assert (event.metadata.priority, event.metadata.version) == ("normal", "1.0")
    assert (event.failure_count, event.generation) == (0, 0)


def test_unknown_types_versions_and_fields_are_kept_readable(event_format: str) -> None:
    """A later version may say more: its event arrives, with the type as text."""
    envelope = changed("metadata", "event_type", "circuit.paused")
    envelope["metadata"] |= {"version": "7.1", "colour": "red"}
    event = decode_event(pack(envelope, event_format))
    assert type(event) is Event
    assert (event.metadata.event_type, event.metadata.version) == ("circuit.paused", "7.1")


def test_what_was_encoded_comes_back(event_format: str) -> None:
    """Events of any kind survive the way over the wire."""
    metadata = EventMetadata("7", EventType.TASK_FAILED, "now", correlation_id="c", source="me")
    data = {"text": "zoë\u2028", "list": [1, -2.5, None, True], "nested": {"a": {}}}
    event = Event(metadata, data)
    assert decode_event(encode_event(event, event_format)) == event


def test_the_first_byte_tells_the_formats_apart() -> None:
    """JSON begins with a brace, msgpack never does."""
    event = Event(EventMetadata("1", EventType.CUSTOM, "now"))
    assert encode_event(event, "json")[:1] == b"{"
    assert encode_event(event, "msgpack")[:1] != b"{"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"thing": object()}, "plain values"),
        ({"set": {1}}, "plain values"),
        ({"long": "x" * MAX_PAYLOAD}, f"{MAX_PAYLOAD} bytes on the wire"),
    ],
    ids=["object", "set", "long"],
)
def test_data_that_can_not_go_over_the_wire_is_refused(
    data: dict[str, Any], message: str, event_format: str
) -> None:
    """The error says what is wrong with the data; nothing is published that none could read."""
    with pytest.raises(ValueError, match=message):
        encode_event(Event(EventMetadata("1", EventType.CUSTOM, "now"), data), event_format)


@pytest.mark.parametrize("event_format", FORMATS)
def test_data_nested_too_deeply_is_refused(event_format: str) -> None:
    """Endless nesting is a ValueError like any other, whichever encoder meets it."""
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"a": nested}
    event = Event(EventMetadata("1", EventType.CUSTOM, "now"), nested)
    with pytest.raises(ValueError, match=r"plain values|recursion|no reader"):
        encode_event(event, event_format)
    while nested:  # by hand, because Python too unwinds it recursively
        nested = nested["a"]


@pytest.mark.parametrize(
    "event",
    [
        Event(EventMetadata("1", EventType.CUSTOM, "now"), {1: "number as a key"}),  # type: ignore[dict-item]
        Event(EventMetadata("1", EventType.CUSTOM, "now"), {"list": [0] * 2000}),
        Event(EventMetadata("1", EventType.CUSTOM, "now"), {"bytes": b"\xff"}),
        Event(EventMetadata(1, EventType.CUSTOM, "now")),  # type: ignore[arg-type]
        Event(EventMetadata("1", EventType.CIRCUIT_OPENED, "now"), {"service": "mail"}),
    ],
    ids=["key", "long list", "bytes", "id", "half a transition"],
)
def test_an_event_that_no_reader_would_take_is_not_published(event: Event) -> None:
    """The publisher hears of it, instead of every subscriber skipping it."""
    with pytest.raises(ValueError, match="no reader could take this event"):
        encode_event(event)


def test_an_unknown_format_is_refused() -> None:
    """The error names both formats."""
    with pytest.raises(ValueError, match="'msgpack' or 'json', got 'yaml'"):
        encode_event(Event(EventMetadata("1", EventType.CUSTOM, "now")), "yaml")


HOSTILE = {
    "empty": b"",
    "zeros": b"\0" * 100,
    "10 MB of zeros": b"\0" * 10_000_000,
    "10 MB of JSON": b'{"a":"' + b"x" * 10_000_000 + b'"}',
    "one byte too many": b"\x81" * (MAX_PAYLOAD + 1),
    "half of JSON": pack({"metadata": METADATA, "data": DATA}, "json")[:-10],
    "half of msgpack": pack({"metadata": METADATA, "data": DATA}, "msgpack")[:-10],
    "more after JSON": pack({"metadata": METADATA, "data": DATA}, "json") + b"{}",
    "more after msgpack": pack({"metadata": METADATA, "data": DATA}, "msgpack") + b"\x80",
    "invalid UTF-8 in JSON": b'{"metadata": "\xff\xfe"}',
    "invalid UTF-8 in msgpack": b"\x81\xa1\xff\x01",
    "deep JSON": b'{"a":' * 3000,
    "deep JSON lists": b'{"a":' + b"[" * 16_000,
    "deep msgpack maps": b"\x81\xa1a" * 5000,
    "deep msgpack lists": b"\x91" * 16_000,
    "msgpack that promises 4 GB of text": b"\xdb\xff\xff\xff\xff",
    "msgpack that promises 4 G items": b"\xdd\xff\xff\xff\xff",
    "msgpack that promises 4 G entries": b"\xdf\xff\xff\xff\xff",
    "msgpack lists that promise": b"\xdc\x40\x00" * 5000,
    "msgpack extension": b"\xd4\x01a",
    "msgpack time stamp": b"\xd7\xff" + b"\xff" * 8,
    "msgpack number as a key": b"\x81\x01\x02",
    "msgpack list as a key": b"\x81\x90\x02",
    "JSON number of 16,000 digits": b'{"a":' + b"1" * 16_000 + b"}",
    "JSON list": b"[]",
    "JSON text": b'"metadata"',
    "a number": b"\x05",
    "nothing": b"\xc0",
    "pickle": b"\x80\x04K\x01.",
    "UTF-16": pack({"metadata": METADATA, "data": DATA}, "json").decode().encode("utf-16"),
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_payload_is_a_value_error(payload: bytes) -> None:
    """Whatever it is, reading it ends in the one error that readers expect."""
    with pytest.raises(ValueError, match=r"payload|envelope|metadata"):
        decode_event(payload)


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_payload_takes_little_memory(payload: bytes) -> None:
    """A payload of a few bytes can not make its readers take a hundred megabytes."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"payload|envelope|metadata"):
            decode_event(payload)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [5, 1.5, True, None, [], {}, ["open"]], ids=repr)
@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("metadata", "event_id"),
        ("metadata", "event_type"),
        ("metadata", "timestamp"),
        ("metadata", "version"),
        ("data", "service"),
        ("data", "state"),
    ],
)
def test_a_text_of_another_type_is_refused(
    part: str, name: str, value: Any, event_format: str
) -> None:
    """Each field of text is checked, so that a handler can rely on it."""
    with pytest.raises(ValueError, match=name if name != "service" else "service_id"):
        decode_event(pack(changed(part, name, value), event_format))


@pytest.mark.parametrize("value", ["5", 1.5, True, None, [], math.nan, math.inf, -1], ids=repr)
@pytest.mark.parametrize("name", ["failure_count", "generation"])
def test_a_count_of_another_kind_is_refused(name: str, value: Any, event_format: str) -> None:
    """NaN, infinity, fractions, signs and words are no counts."""
    with pytest.raises(ValueError, match=f"data.{name} must be a whole number"):
        decode_event(pack(changed("data", name, value), event_format))


@pytest.mark.parametrize("service", ["", "a b", "a*", "a\n", "x" * 201, "a{b}"], ids=repr)
def test_a_transition_of_no_possible_service_is_refused(service: str, event_format: str) -> None:
    """No circuit has such an id, so no script published it."""
    with pytest.raises(ValueError, match="service_id"):
        decode_event(pack(changed("data", "service", service), event_format))


@pytest.mark.parametrize("name", ["event_id", "event_type", "timestamp"])
def test_a_needed_field_must_be_there(name: str, event_format: str) -> None:
    """Without id, type or time it is no event."""
    with pytest.raises(ValueError, match=f"metadata.{name}"):
        decode_event(pack(without("metadata", name), event_format))


def test_of_duplicate_keys_the_last_counts() -> None:
    """A key that comes twice does no harm, in either format."""
    good = json.dumps(DATA).encode()
    metadata = json.dumps(METADATA).encode()
    twice = b'{"metadata":5,"data":%b,"metadata":%b}' % (good, metadata)
    assert decode_event(twice).data == DATA
    packed = [msgpack.packb(each) for each in ("metadata", 5, "data", DATA, "metadata", METADATA)]
    assert decode_event(b"\x83" + b"".join(packed)).data == DATA


def test_data_of_other_events_is_handed_on_as_it_is() -> None:
    """Only transitions have fields that are known; NaN in other data stays NaN."""
    envelope = changed("metadata", "event_type", "custom")
    envelope["data"] = {"state": [], "x": math.nan}
    event = decode_event(pack(envelope, "msgpack"))
    assert type(event) is Event
    assert event.data["state"] == []
    assert math.isnan(event.data["x"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from([*METADATA, *DATA]), VALUES | st.sampled_from([*METADATA.values(), "open"])
)
ENVELOPES = st.fixed_dictionaries({"metadata": FIELDS | VALUES, "data": FIELDS | VALUES}) | VALUES


def read_or_refuse(payload: bytes) -> None:
    """Decode, and take the one error that is allowed."""
    try:
        event = decode_event(payload)
    except ValueError:
        return
    assert isinstance(event, Event)
    if isinstance(event, CircuitEvent):
        assert event.service
        assert isinstance(event.state, CircuitState)
        assert event.failure_count >= 0
        assert event.generation >= 0


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    """No bytes make decode_event raise anything but ValueError."""
    read_or_refuse(payload)
    read_or_refuse(b"{" + payload)


@given(ENVELOPES)
def test_any_msgpack_is_read_or_refused(envelope: Any) -> None:
    """Nor does well-formed msgpack of any shape."""
    try:
        payload = msgpack.packb(envelope)
    except (ValueError, OverflowError):
        return  # integers beyond 64 bits, halves of surrogate pairs
    read_or_refuse(payload)


@given(ENVELOPES)
def test_any_json_is_read_or_refused(envelope: Any) -> None:
    """Nor does JSON of any shape, its NaN and infinities included."""
    try:
        payload = json.dumps(envelope).encode()
    except TypeError:
        return  # bytes
    read_or_refuse(payload)


@given(st.data())
def test_a_damaged_transition_is_read_or_refused(data: st.DataObject) -> None:
    """Nor does a real event in which bytes were lost or changed."""
    good = pack({"metadata": METADATA, "data": DATA}, data.draw(st.sampled_from(FORMATS)))
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    read_or_refuse(good[:begin] + data.draw(st.binary(max_size=8)) + good[end:])


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=5), st.sampled_from(FORMATS))
def test_plain_data_comes_back(data: dict[str, Any], event_format: str) -> None:
    """Plain data survives both formats unchanged."""
    event = Event(EventMetadata("1", EventType.CUSTOM, "now"), data)
    assert decode_event(encode_event(event, event_format)) == event


def test_topics_and_types_have_their_names() -> None:
    """The names are part of the interface, and print bare."""
    assert Topics.circuit_breaker_topic("mail") == "circuit_breaker.mail"
    assert f"{EventType.CIRCUIT_HALF_OPEN}" == str(EventType.CIRCUIT_HALF_OPEN)
    assert str(EventType.CIRCUIT_HALF_OPEN) == "circuit.half_open"
    with pytest.raises(ValueError, match="service_id"):
        Topics.circuit_breaker_topic("a*")
