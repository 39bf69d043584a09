"""Asking sentinels: whom first, how many, and for how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.faults import NoPrimaryError, explain_fault
from bb5_breaker._store.primaries import Primary
from bb5_breaker.exceptions import StoreUnavailableError
from tests.support.speakers import Speaker

_ANSWER = b"*2\r\n$8\r\n10.0.0.7\r\n$4\r\n6380\r\n"
_ADDRESS = ("10.0.0.7", 6380)
_NOBODY = b"*-1\r\n"
_TIMEOUT = 0.4


def _follow(*speakers: Speaker) -> Primary:
    hosts = ",".join(f"127.0.0.1:{speaker.port}" for speaker in speakers)
    client = client_from_url(f"redis+sentinel://{hosts}/main", _TIMEOUT)
    found = client.connection_pool.connection_kwargs["primary"]
    assert isinstance(found, Primary)
    return found


@pytest.fixture
def speakers() -> Iterator[ExitStack]:
    """Keeps speakers until the end of the test."""
    with ExitStack() as stack:
        yield stack


def test_frozen_sentinels_cost_one_time_out_however_many_there_are(speakers: ExitStack) -> None:
    """Of five that hang two are asked, and the others the next time."""
    frozen = [speakers.enter_context(Speaker(None)) for _ in range(5)]
    primary = _follow(*frozen)
    met: list[int] = []
    for _ in range(2):
        begun = time.monotonic()
        with pytest.raises(NoPrimaryError, match="Timeout"):
            primary.find()
        assert time.monotonic() - begun < 4 * _TIMEOUT
        met.append(sum(each.visits for each in frozen))
    # Fewer on a busy machine.
    assert 1 <= met[0] <= 2
    assert 1 <= met[1] - met[0] <= 2
    assert max(each.visits for each in frozen) == 1


def test_whoever_answered_last_is_asked_first(speakers: ExitStack) -> None:
    """Those that hang or refuse are met once; then the one that answers is asked alone."""
    answering = speakers.enter_context(Speaker(_ANSWER))
    silent = [speakers.enter_context(Speaker(None)) for _ in range(2)]
    closed = Speaker(None)
    closed.close()
    primary = _follow(*silent, closed, answering)
    found = []
    while not found:
        try:
            found.append(primary.find())
        except NoPrimaryError:
            continue
    visits = [each.visits for each in silent]
    found += [primary.find() for _ in range(20)]
    assert set(found) == {_ADDRESS}
    assert [each.visits for each in silent] == visits
    # Over the connection that is open.
    assert answering.visits == 1


def test_what_was_said_last_holds_while_all_are_silent(speakers: ExitStack) -> None:
    """Without sentinels nobody is promoted: the primary is where it was."""
    answering = speakers.enter_context(Speaker(_ANSWER))
    primary = _follow(answering)
    assert primary.find() == _ADDRESS
    answering.close()
    assert primary.find() == _ADDRESS


def test_a_server_that_is_a_replica_is_not_believed_again(speakers: ExitStack) -> None:
    """With all silent, what turned out to be wrong is no longer the primary's address."""
    answering = speakers.enter_context(Speaker(_ANSWER))
    primary = _follow(answering)
    named = primary.find()
    answering.close()
    primary.doubt(named)
    with pytest.raises(NoPrimaryError):
        primary.find()


def test_a_sentinel_that_knows_nothing_is_passed_over(speakers: ExitStack) -> None:
    """One that does not know the name is asked, and then another."""
    others = [speakers.enter_context(Speaker(_NOBODY)) for _ in range(3)]
    primary = _follow(*others, speakers.enter_context(Speaker(_ANSWER)))
    assert primary.find() == _ADDRESS


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (_NOBODY, "knows no primary of this name"),
        (b"+OK\r\n", "answers like no sentinel"),
        (b"*2\r\n$4\r\nhost\r\n$4\r\nport\r\n", "answers like no sentinel"),
        (b"*2\r\n$4\r\nhost\r\n$5\r\n65536\r\n", "answers like no sentinel"),
        (b"-NOAUTH Authentication required.\r\n", "set sentinel_username and sentinel_password"),
        (b"-WRONGPASS invalid username-password pair\r\n", "set sentinel_username"),
        (b"-NOPERM this user has no permissions to run the command\r\n", "no permissions to run"),
    ],
)
def test_the_error_tells_what_each_sentinel_said(
    speakers: ExitStack, answer: bytes, advice: str
) -> None:
    """It names the sentinel, and speaks of it and not of the server."""
    speaker = speakers.enter_context(Speaker(answer))
    with pytest.raises(NoPrimaryError) as caught:
        _follow(speaker).find()
    told = explain_fault(caught.value, "redis+sentinel://here/main")
    assert type(told) is StoreUnavailableError
    assert f"127.0.0.1:{speaker.port}: " in told.message
    assert advice in told.message
