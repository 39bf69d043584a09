"""Whether a reply is all there."""

from __future__ import annotations

import pytest

from bb5_breaker._store.framing import is_whole

WHOLE = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$5\r\na\r\nbc\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*3\r\n:1\r\n$2\r\nab\r\n*2\r\n+x\r\n$-1\r\n",
]


@pytest.mark.parametrize("reply", WHOLE)
def test_a_reply_is_whole_with_its_last_byte(reply: bytes) -> None:
    """However it is nested, and not before."""
    assert is_whole(reply)
    assert not any(is_whole(reply[:size]) for size in range(len(reply)))


@pytest.mark.parametrize(
    "reply", [b"$x\r\n", b"*-\r\n", b"%1\r\n+a\r\n+b\r\n", b"HTTP/1.1 400\r\n"]
)
def test_what_is_no_reply_is_left_to_the_client(reply: bytes) -> None:
    """Waiting for more of it would only cost time."""
    assert is_whole(reply)
