"""Requests in the protocol of Redis, word by word."""

from __future__ import annotations

__all__ = ["pack_word", "pack_words"]


def pack_word(word: bytes | str | int) -> bytes:
    """Return one word of a request."""
    data = word if isinstance(word, bytes) else str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def pack_words(*words: bytes | str | int) -> bytes:
    """Return a whole request."""
    return b"*%d\r\n" % len(words) + b"".join(map(pack_word, words))
