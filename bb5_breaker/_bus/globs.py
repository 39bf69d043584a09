"""Glob patterns as Redis reads them, for events that did not come through a subscription."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = ["matches"]

_REMEMBERED: Final = 1024
_ANY: Final = b"[\\s\\S]"
_NONE: Final = b"(?!)"


def matches(pattern: bytes, name: bytes) -> bool:
    """Return True when PSUBSCRIBE to the pattern hears the channel of that name."""
    return _compile(pattern).fullmatch(name) is not None


@lru_cache(maxsize=_REMEMBERED)
def _compile(pattern: bytes) -> re.Pattern[bytes]:
    written: list[bytes] = []
    at = 0
    while at < len(pattern):
        letter = pattern[at : at + 1]
        at += 1
        if letter == b"*":
            # One after the other means the same, and would cost time.
            if written[-1:] != [_ANY + b"*"]:
                written.append(_ANY + b"*")
        elif letter == b"?":
            written.append(_ANY)
        elif letter == b"[":
            group, at = _read_class(pattern, at)
            written.append(group)
        else:
            if letter == b"\\" and at < len(pattern):
                letter = pattern[at : at + 1]
                at += 1
            written.append(re.escape(letter))
    return re.compile(b"".join(written))


def _read_class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """Return the class of letters that begins here, and where it ends.

    As in Redis: ``]`` ends it wherever it stands, one that is not ended reaches to the end of the
    pattern, and the ends of a range may come in either order.
    """
    negated = pattern[at : at + 1] == b"^"
    at += negated
    letters: set[int] = set()
    while at < len(pattern):
        left = len(pattern) - at
        if pattern[at] == ord("\\") and left >= 2:
            letters.add(pattern[at + 1])
            at += 2
        elif pattern[at] == ord("]"):
            at += 1
            break
        elif left >= 3 and pattern[at + 1] == ord("-"):
            first, last = sorted((pattern[at], pattern[at + 2]))
            letters.update(range(first, last + 1))
            at += 3
        else:
            letters.add(pattern[at])
            at += 1
    if not letters:
        return (_ANY if negated else _NONE), at
    inside = b"".join(b"\\x%02x" % letter for letter in sorted(letters))
    return b"[" + (b"^" if negated else b"") + inside + b"]", at
