"""The server as a child process: at most one in a directory, ended with its supervisor."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from .contract import SERVER_LOCK, SOCKET
from .flocks import note_pid, open_lock, try_lock

if sys.platform != "win32":
    import fcntl

_ORPHAN_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1


class ServerProcess:
    """A valkey-server that runs in the current directory.

    Args:
        command: Its path and arguments.
        lock: Descriptor of the server lock, which goes over to the server.
    """

    def __init__(self, command: list[str], lock: int) -> None:
        with suppress(FileNotFoundError):
            os.unlink(SOCKET)
        self._pid = _fork_server(command, lock)
        os.close(lock)
        self._exit_code: int | None = None

    @property
    def exit_code(self) -> int | None:
        """Return its exit code (negative: ended by that signal), or None while it runs."""
        if self._exit_code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._exit_code = os.waitstatus_to_exitcode(status)
        return self._exit_code

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it by SIGKILL, which takes a frozen one too, and wait for that."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def take_server_lock() -> int:
    """Return the descriptor of the server lock, once no earlier server has it any more.

    Without a supervisor that can only be one whose supervisor was killed. On Linux it is dying;
    elsewhere it is asked to.

    Raises:
        RuntimeError: It does not end.
    """
    descriptor = open_lock(SERVER_LOCK)
    deadline = time.monotonic() + _ORPHAN_SECONDS
    if not try_lock(descriptor, fcntl.LOCK_EX):
        _shut_down_orphan()
    while not try_lock(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            orphan = os.pread(descriptor, 32, 0).decode().strip()
            raise RuntimeError(f"an earlier server (process {orphan}) does not end; kill it")
        time.sleep(0.01)
    return descriptor


def _shut_down_orphan() -> None:
    import socket

    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        connection.connect(SOCKET)
        connection.sendall(b"SHUTDOWN NOSAVE\r\n")


def _fork_server(command: list[str], lock: int) -> int:
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become_server(command, lock, supervisor)
        except BaseException as error:
            os.write(2, f"cannot run {command[0]}: {error}\n".encode())
        finally:
            os._exit(127)
    return pid


def _become_server(command: list[str], lock: int, supervisor: int) -> None:
    if sys.platform == "linux":
        _die_with(supervisor)
    note_pid(lock)
    os.set_inheritable(lock, True)
    os.execv(command[0], command)


def _die_with(supervisor: int) -> None:
    # Imported here, in the child, because the supervisor would keep the memory.
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    except Exception as error:
        os.write(2, f"this server will outlive a killed supervisor: {error}\n".encode())
    # It may have died before the request, and then no signal comes any more.
    if os.getppid() != supervisor:
        os._exit(1)
