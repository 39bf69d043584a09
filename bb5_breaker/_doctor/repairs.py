"""Lines for a shell that repair what was found."""

from __future__ import annotations

import shlex

from bb5_breaker._doctor.patient import Patient

__all__ = ["repair_line"]


def repair_line(patient: Patient, *words: bytes | str) -> str:
    """Return how a command is sent to the server with redis-cli, by an administrator.

    Args:
        patient: The server.
        words: The command; keys may hold any bytes.
    """
    return " ".join([shlex.join(patient.shell), *map(_quote, words)])


def _quote(word: bytes | str) -> str:
    data = word.encode() if isinstance(word, str) else word
    if all(0x20 <= byte < 0x7F for byte in data):
        return shlex.quote(data.decode())
    return "$'" + "".join(map(_escape, data)) + "'"


def _escape(byte: int) -> str:
    is_plain = 0x20 <= byte < 0x7F and chr(byte) not in "'\\"
    return chr(byte) if is_plain else f"\\x{byte:02x}"
