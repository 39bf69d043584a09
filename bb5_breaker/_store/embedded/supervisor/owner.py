"""The supervisor: starts one server, and ends it when nobody needs it.

It sleeps on one FIFO, into which come requests, signals (through the wake-up descriptor), and
the news that no user is left. Nothing is polled, and no news can get lost before the sleep.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress

from .contract import CONTROL, END, PIN, SOCKET, SUPERVISOR_LOCK, UNPIN, USERS_LOCK
from .flocks import note_pid, open_lock, try_lock, wait_until_alone
from .server import ServerProcess, take_server_lock

if sys.platform != "win32":
    import fcntl

BESIDE_ANOTHER = "another supervisor is here already: this one ends"

_ALONE = b"a"
_SIGTERM = bytes([signal.SIGTERM])
_GRACE_SECONDS = 3.0


class Supervisor:
    """Owner of one server in the current directory.

    Args:
        command: Path and arguments of valkey-server.
        report: Descriptor for the reason of a failed start; its end tells that we are gone.
    """

    def __init__(self, command: list[str], report: int) -> None:
        self._command = command
        self._report = report
        self._users: int | None = None
        self._pin: int | None = None

    def run(self) -> None:
        """Start the server and see it through to its end; do nothing beside another supervisor."""
        lock = open_lock(SUPERVISOR_LOCK)
        if not try_lock(lock, fcntl.LOCK_EX):
            print(BESIDE_ANOTHER, file=sys.stderr, flush=True)
            return
        note_pid(lock)
        # systemd-tmpfiles leaves a locked directory alone, however old its files look.
        fcntl.flock(os.open(".", os.O_RDONLY), fcntl.LOCK_SH)
        server_lock = take_server_lock()
        # Not earlier, because a server that answers beside an open control counts as ours.
        self._open_control()
        self._server = ServerProcess(self._command, server_lock)
        self._watch_users()
        self._serve()
        _remove(SOCKET)

    def report_failure(self, reason: str) -> None:
        """Tell the starter why there is no server, if it still listens, and the log."""
        print(reason, file=sys.stderr, flush=True)
        with suppress(OSError):
            os.write(self._report, reason.encode())

    def _open_control(self) -> None:
        _remove(CONTROL)
        os.mkfifo(CONTROL, 0o600)
        self._events = os.open(CONTROL, os.O_RDONLY | os.O_NONBLOCK)
        self._news = os.open(CONTROL, os.O_WRONLY | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._news)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)

    def _watch_users(self) -> None:
        threading.Thread(target=self._await_last_user, daemon=True).start()

    def _await_last_user(self) -> None:
        self._users = wait_until_alone(USERS_LOCK)
        os.write(self._news, _ALONE)

    def _serve(self) -> None:
        while True:
            events = self._next_events(None)
            if UNPIN in events or END in events:
                self._remove_pin()
            if self._server.exit_code is not None:
                return self._tell_end(self._server.exit_code)
            if END in events or _SIGTERM in events:
                return self._end_server()
            if _ALONE in events and not self._keep_for_pin():
                return self._end_server()

    def _next_events(self, timeout: float | None) -> bytes:
        ready, _, _ = select.select([self._events], [], [], timeout)
        return os.read(self._events, 64) if ready else b""

    def _tell_end(self, exit_code: int) -> None:
        reason = f"valkey-server ended by itself with exit code {exit_code}"
        # One that was killed is not the fault of its start, which may be tried again.
        if exit_code >= 0:
            self.report_failure(reason)

    def _end_server(self) -> None:
        self._server.ask_to_end()
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._server.exit_code is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return self._server.kill()
            self._next_events(left)

    def _keep_for_pin(self) -> bool:
        """Turn the lock that we hold alone into the pin's share of it, if there is a pin."""
        if self._users is None or not os.path.exists(PIN):
            return False
        fcntl.flock(self._users, fcntl.LOCK_SH)
        self._pin = self._users
        self._watch_users()
        return True

    def _remove_pin(self) -> None:
        # In this order: who finds the file gone must not take the pin's share for a user's.
        if self._pin is not None:
            os.close(self._pin)
            self._pin = None
        _remove(PIN)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def main(arguments: list[str]) -> None:
    """Become a supervisor.

    Args:
        arguments: Descriptor for reports, directory, then path and arguments of valkey-server.
    """
    report, directory, *command = arguments
    # The starter waits for this half, so that no zombie stays with it.
    if os.fork():
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    os.chdir(directory)
    os.set_inheritable(int(report), False)
    supervisor = Supervisor(command, int(report))
    try:
        supervisor.run()
    except Exception as error:
        supervisor.report_failure(f"the supervisor failed: {error}")
        sys.exit(1)
