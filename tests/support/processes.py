"""Servers run as child processes of the tests, in a directory of their own each."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from . import least_user, reaper
from .kinds import ServerKind
from .running import START_SECONDS, Config, ConfigValue, RunningServer, ServerStartError

_STOP_SECONDS = 10.0
_PORT_ATTEMPTS = 5
Server = TypeVar("Server", bound="LocalServer")


class LocalServer(RunningServer):
    """A server process on a Unix socket, and on a loopback port when it has one.

    Args:
        kind: what to start.
        config: settings over those of a server without persistence.
        port: the TCP port to listen on as well; None for none.
    """

    def __init__(self, kind: ServerKind, config: Config, port: int | None) -> None:
        super().__init__(kind, config)
        self._port = port
        # Not under a long TMPDIR: the path of a Unix socket holds about 100 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="bb5-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def socket(self) -> Path:
        """The Unix socket that the server listens on."""
        return self.directory / "redis.sock"

    @property
    def port(self) -> int | None:
        """The TCP port on loopback; None when TCP was not asked for."""
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the server as it runs now."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not stopped or killed since."""
        return self._process is not None

    @property
    def log(self) -> str:
        """What the server has logged so far, over all its lives."""
        return (self.directory / "server.log").read_text(errors="replace")

    def stop(self) -> None:
        """End the server for good and remove what it wrote."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """End the server at once; restart() brings it back."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the server; returns once it is frozen."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        if hasattr(os, "waitid"):  # else (older macOS) a few microseconds may pass yet
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start the server anew at the same address, ending it in good order if it runs."""
        self._end(signal.SIGTERM)
        self._start()

    def _locate(self, credentials: str) -> str:
        """Over TCP when it has a port, else over the socket."""
        if self._port is None:
            return f"unix://{credentials}{self.socket}"
        return f"redis://{credentials}127.0.0.1:{self._port}/0"

    def _start(self) -> None:
        self._file.write_text(self._settings())
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._words(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for the tests, which then end the server.
                start_new_session=True,
            )
        reaper.watch(self._process.pid, str(self.directory))
        self._await_readiness(self._process)

    @property
    def _file(self) -> Path:
        return self.directory / "server.conf"

    def _words(self) -> list[str]:
        return [self.kind.where, str(self._file)]

    def _settings(self) -> str:
        settings: dict[str, ConfigValue] = {
            "port": self._port or 0,
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "unixsocketperm": 700,
            "dir": str(self.directory),
            "daemonize": "no",
            "save": '""',
            "appendonly": "no",
            **least_user.settings(),
            **self.config,
        }
        return lines_of(settings)

    def _await_readiness(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if process.poll() is not None:
                raise self.start_error(f"ended with exit code {process.returncode}", self.log)
            if time.monotonic() > deadline:
                raise self.start_error("did not answer PING in time", self.log)
            time.sleep(0.005)

    def _end(self, how: signal.Signals) -> None:
        """Send the signal, then kill what it did not end."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # or a paused server would not hear the first
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reaper.forget(process.pid, str(self.directory))
        self.socket.unlink(missing_ok=True)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.kind.name} was stopped or killed; restart() it first")
        return self._process


def lines_of(settings: Config) -> str:
    """Return settings as the server's file has them."""
    lines = []
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        lines += [f"{name} {each}\n" for each in values]
    return "".join(lines)


def start_on_free_port(
    kind: ServerKind, config: Config, make: Callable[[ServerKind, Config, int], Server]
) -> Server:
    """Start a server on a loopback port that nothing else listens on.

    Args:
        kind: what to start.
        config: settings over the defaults.
        make: starts it on a port.

    Raises:
        ServerStartError: it did not start, and not because its port was taken.
    """
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        try:
            return make(kind, config, free_port())
        except ServerStartError as error:
            # Another process may take the port between our look and the server's bind.
            if attempt == _PORT_ATTEMPTS or "already in use" not in str(error):
                raise
    raise AssertionError("unreachable")


def free_port() -> int:
    """Find a TCP port on loopback that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
