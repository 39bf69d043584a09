"""The commands about the embedded server: start, status and stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bb5_breaker._store import embedded
from bb5_breaker._store.embedded import EmbeddedServer, EmbeddedStatus, StopResult
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.failures import CommandError
from bb5_breaker.cli.text import format_age, visible

__all__ = ["ServerDocument", "StartDocument", "StopDocument"]


@dataclass(frozen=True, slots=True)
class ServerDocument:
    """What is known of the embedded server."""

    status: EmbeddedStatus

    @staticmethod
    def read() -> ServerDocument:
        """Look, without starting anything.

        Raises:
            EmbeddedServerError: Its directory is unsafe.
        """
        return ServerDocument(embedded.status())

    @property
    def exit_code(self) -> ExitCode:
        """NOTHING when it does not run."""
        return ExitCode.DONE if self.status.running else ExitCode.NOTHING

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = self.status
        return {
            "running": found.running,
            "server_pid": found.server_pid,
            "supervisor_pid": found.supervisor_pid,
            "url": _address(found),
            "socket_path": str(found.socket_path),
            "directory": str(found.directory),
            "pinned": found.pinned,
            "version": found.version,
            "uptime_seconds": found.uptime,
        }

    def print_text(self) -> None:
        """Print whether it runs, and where."""
        found = self.status
        if not found.running:
            print(visible(f"not running (directory {found.directory})"))
            return
        kept = "kept until it is stopped" if found.pinned else "ends with its last user"
        age = format_age(found.uptime or 0.0)
        print(f"running: Valkey {found.version}, process {found.server_pid}, for {age}; {kept}")
        print(visible(_address(found)))


@dataclass(frozen=True, slots=True)
class StartDocument:
    """The embedded server, started and kept."""

    exit_code: ClassVar = ExitCode.DONE
    was_running: bool
    server: ServerDocument

    @staticmethod
    def make() -> StartDocument:
        """Start it, unless it runs, and keep it until it is stopped.

        Raises:
            EmbeddedServerError: It can not be started.
        """
        was_running = embedded.status().running
        embedded.pin()
        return StartDocument(was_running, ServerDocument.read())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"was_running": self.was_running, **self.server.to_dict()}

    def print_text(self) -> None:
        """Print where it is and how to end it."""
        found = self.server.status
        begun = "runs already" if self.was_running else "started"
        print(f"embedded server {begun} (process {found.server_pid})")
        print(visible(_address(found)))
        print("it is kept until: bb5-breaker server stop")


@dataclass(frozen=True, slots=True)
class StopDocument:
    """What became of a request to stop the embedded server."""

    result: StopResult

    @staticmethod
    def make(force: bool) -> StopDocument:
        """Stop it, unless processes use it.

        Args:
            force: Stop it even then.

        Raises:
            CommandError: It is still in use.
            EmbeddedServerError: It does not react, or its directory is unsafe.
        """
        result = embedded.stop(force=force)
        if result.in_use:
            raise CommandError(
                "the embedded server is still in use and ends with its last user; "
                "to end it now and lose what it holds: bb5-breaker server stop --force",
                ExitCode.NOTHING,
            )
        return StopDocument(result)

    @property
    def exit_code(self) -> ExitCode:
        """NOTHING when it did not run."""
        return ExitCode.DONE if self.result.stopped else ExitCode.NOTHING

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"stopped": self.result.stopped, "was_pinned": self.result.was_pinned}

    def print_text(self) -> None:
        """Print whether there was one."""
        print("stopped" if self.result.stopped else "was not running")


def _address(found: EmbeddedStatus) -> str:
    return EmbeddedServer(found.directory, found.socket_path, found.server_pid or 0).url
