"""The proof that a server is up: it answers a PING over its socket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket

_REQUEST = b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n"
_LONGEST_REPLY = 65_536


class ServerReply(NamedTuple):
    """What a running server says about itself."""

    process_id: int
    version: str
    uptime: float


def ask_server(socket_path: Path, timeout: float = 2.0) -> ServerReply | None:
    """Send a PING and ask who answers.

    Args:
        socket_path: The server's Unix socket.
        timeout: Seconds to wait for each part of the answer.

    Returns:
        The answer, or None when nothing or nothing sensible answers.
    """
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(socket_path))
            connection.sendall(_REQUEST)
            return _parse(_receive(connection))
    except (OSError, ValueError, KeyError):
        return None


def _receive(connection: socket.socket) -> bytes:
    reply = b""
    while not _is_whole(reply) and len(reply) < _LONGEST_REPLY:
        part = connection.recv(8192)
        if not part:
            break
        reply += part
    return reply


def _is_whole(reply: bytes) -> bool:
    _, _, bulk = reply.partition(b"\r\n$")
    length, separator, body = bulk.partition(b"\r\n")
    if not separator:
        return reply.startswith(b"-")
    return len(body) >= int(length) + 2


def _parse(reply: bytes) -> ServerReply:
    if not reply.startswith(b"+PONG\r\n"):
        raise ValueError("no answer to PING")
    lines = reply.decode().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return ServerReply(
        process_id=int(fields["process_id"]),
        version=fields.get("valkey_version") or fields["redis_version"],
        uptime=float(fields["uptime_in_seconds"]),
    )
