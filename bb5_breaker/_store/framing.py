"""Whether a reply in the protocol of Redis is all there."""

from __future__ import annotations

__all__ = ["is_whole"]


def is_whole(data: bytes) -> bool:
    """Return True when the bytes hold a whole reply, or none that this knows.

    What is malformed, or of a later version of the protocol, is left to the client to refuse.
    """
    place, missing = 0, 1
    while missing:
        missing -= 1
        end = data.find(b"\r\n", place)
        if end < 0:
            return False
        kind, number = data[place : place + 1], data[place + 1 : end]
        place = end + 2
        if kind not in (b"$", b"*"):
            continue
        if not number.isdigit():
            # Nothing, which is written as -1, or no reply.
            continue
        if kind == b"*":
            missing += int(number)
        else:
            place += int(number) + 2
            if place > len(data):
                return False
    return True
