"""Using, pinning and stopping the embedded server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bb5_breaker._store.embedded import users
from bb5_breaker._store.embedded.control import is_supervised, send_request, supervisor_pid
from bb5_breaker._store.embedded.directory import (
    check_directory,
    prepare_directory,
    resolve_directory,
)
from bb5_breaker._store.embedded.locks import PAUSE_SECONDS, is_shared, take_shared
from bb5_breaker._store.embedded.probe import ServerReply, ask_server
from bb5_breaker._store.embedded.results import EmbeddedServer, EmbeddedStatus, StopResult
from bb5_breaker._store.embedded.starter import ensure_running
from bb5_breaker._store.embedded.supervisor.contract import END, PIN, SOCKET, UNPIN, USERS_LOCK
from bb5_breaker.exceptions import EmbeddedServerError

_START_SECONDS = 10.0
_STOP_SECONDS = 10.0


def acquire(directory: Path | None = None, *, timeout: float = _START_SECONDS) -> EmbeddedServer:
    """Return the running server, started when it is not up, and use it until this process ends.

    A child forked later is a user too. Calls are not counted: repeated ones are cheap and find
    out whether the server is still up (a new one is started when it is not), and one
    :func:`release` undoes them all. Safe from any thread; blocks, so not for an event loop.

    Args:
        directory: Directory of the server; None means :func:`default_directory`.
        timeout: Seconds to wait for a server that answers.

    Raises:
        EmbeddedServerError: The directory is unsafe, or no server can be started in it.
    """
    deadline = time.monotonic() + timeout
    with _plain_errors(directory):
        path = prepare_directory(directory)
        users.register(path, deadline)
        return _as_server(path, ensure_running(path, deadline))


def release(directory: Path | None = None) -> None:
    """Stop being a user, for the whole process; also happens by itself when the process ends.

    Args:
        directory: Directory of the server; None means :func:`default_directory`.

    Raises:
        EmbeddedServerError: The path cannot be that of an embedded server.
    """
    users.unregister(resolve_directory(directory))


def status(directory: Path | None = None) -> EmbeddedStatus:
    """Return what is known of the server; never starts or makes anything.

    Args:
        directory: Directory of the server; None means :func:`default_directory`.

    Raises:
        EmbeddedServerError: The directory is unsafe or its path too long.
    """
    path = resolve_directory(directory)
    reply, owner = None, None
    if _is_there(path):
        reply, owner = ask_server(path / SOCKET), supervisor_pid(path)
    return EmbeddedStatus(
        running=reply is not None and owner is not None,
        server_pid=reply.process_id if reply else None,
        supervisor_pid=owner,
        socket_path=path / SOCKET,
        directory=path,
        pinned=(path / PIN).exists(),
        version=reply.version if reply else None,
        uptime=reply.uptime if reply else None,
    )


def pin(directory: Path | None = None) -> EmbeddedServer:
    """Start the server, and keep it without users until :func:`stop`.

    This process does not become a user. A pin outlives a server that crashes: the next process
    that acquires the server starts a new one, which is pinned again.

    Args:
        directory: Directory of the server; None means :func:`default_directory`.

    Raises:
        EmbeddedServerError: The directory is unsafe, or no server can be started in it.
    """
    deadline = time.monotonic() + _START_SECONDS
    with _plain_errors(directory):
        path = prepare_directory(directory)
        use = take_shared(path / USERS_LOCK, deadline)
        try:
            server = _as_server(path, ensure_running(path, deadline))
            (path / PIN).touch(mode=0o600)
        finally:
            os.close(use)
        return server


def stop(directory: Path | None = None, *, force: bool = False) -> StopResult:
    """Remove the pin, and end the server unless processes use it.

    Args:
        directory: Directory of the server; None means :func:`default_directory`.
        force: End it even when processes use it (this one counts when it does). What it held is
            lost, and the next :func:`acquire` starts a new one.

    Raises:
        EmbeddedServerError: The directory is unsafe, or the supervisor does not react.
    """
    with _plain_errors(directory):
        path = resolve_directory(directory)
        if not _is_there(path):
            return StopResult(was_running=False, was_pinned=False, in_use=False)
        was_pinned = (path / PIN).exists()
        owner = supervisor_pid(path)
        was_running = send_request(path, END if force else UNPIN)
        in_use = was_running and _await_end(path, owner, _never if force else _is_kept)
        if not in_use:
            # A supervisor that was killed may have left it.
            (path / PIN).unlink(missing_ok=True)
        return StopResult(was_running, was_pinned, in_use)


def _await_end(path: Path, owner: int | None, is_kept: Callable[[Path], bool]) -> bool:
    """Wait until a supervisor has ended, or is kept by its users; return whether it is kept."""
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        kept = is_kept(path)
        # Asked second: users seen above may be those of its successor.
        if not is_supervised(path) or supervisor_pid(path) != owner:
            return False
        if kept:
            return True
        time.sleep(PAUSE_SECONDS)
    raise EmbeddedServerError(
        f"the supervisor of the embedded server in {path} (process {owner}) does not react: "
        "it is frozen; kill it, and on Linux its server goes with it"
    )


def _is_kept(path: Path) -> bool:
    # The supervisor drops the pin's own share of the lock before it removes the pin.
    return not (path / PIN).exists() and is_shared(path / USERS_LOCK)


def _never(path: Path) -> bool:
    return False


def _is_there(path: Path) -> bool:
    return os.path.lexists(path) and bool(check_directory(path))


def _as_server(path: Path, reply: ServerReply) -> EmbeddedServer:
    return EmbeddedServer(path, path / SOCKET, reply.process_id)


@contextmanager
def _plain_errors(directory: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedServerError(
            f"the embedded server in {resolve_directory(directory)} cannot be used: {error}; "
            "set BB5_EMBEDDED_DIR to a local directory of your own"
        ) from error
