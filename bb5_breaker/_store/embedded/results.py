"""What the functions of the embedded server return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running embedded server.

    Args:
        directory: Where its socket, locks and log are.
        socket_path: Its Unix socket.
        server_pid: Process id of valkey-server, as the server itself reports it.
    """

    directory: Path
    socket_path: Path
    server_pid: int

    @property
    def url(self) -> str:
        """Return the address as a ``unix://`` URL, with unsafe characters percent-encoded."""
        from urllib.parse import quote

        return f"unix://{quote(str(self.socket_path))}"


@dataclass(frozen=True, slots=True)
class EmbeddedStatus:
    """The state of the embedded server of one directory.

    Args:
        running: Whether it answers a PING and has its supervisor.
        server_pid: Process id of valkey-server; None when not running.
        supervisor_pid: Process id of the supervisor; None when there is none.
        socket_path: Where its Unix socket is, or would be.
        directory: Where its socket, locks and log are, or would be.
        pinned: Whether it is kept without users until it is stopped.
        version: Version of Valkey; None when not running.
        uptime: Seconds since it was started, in whole seconds; None when not running.
    """

    running: bool
    server_pid: int | None
    supervisor_pid: int | None
    socket_path: Path
    directory: Path
    pinned: bool
    version: str | None
    uptime: float | None


@dataclass(frozen=True, slots=True)
class StopResult:
    """What became of a request to stop the embedded server.

    Args:
        was_running: Whether there was one to stop.
        was_pinned: Whether a pin was removed.
        in_use: Whether it stays because processes use it; it ends with the last of them.
    """

    was_running: bool
    was_pinned: bool
    in_use: bool

    @property
    def stopped(self) -> bool:
        """Return whether it was running and has ended."""
        return self.was_running and not self.in_use
