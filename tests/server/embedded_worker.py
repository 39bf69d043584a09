"""A process that uses the embedded server, for the tests of it: run as a script.

It prints what it found, a line each, and lives until its standard input ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from bb5_breaker._store import embedded

# Above what a loaded machine needs; a wedge lasts for ever.
_TIMEOUT = 20.0


def hold(directory: Path) -> None:
    """Use the server."""
    _say(embedded.acquire(directory, timeout=_TIMEOUT).server_pid)
    sys.stdin.read()


def announce(directory: Path) -> None:
    """Say when the first acquire begins, so that it can be cut off."""
    _say("acquiring")
    embedded.acquire(directory, timeout=_TIMEOUT)
    sys.stdin.read()


def leave_child(directory: Path) -> None:
    """Leave the server to a forked child."""
    server = embedded.acquire(directory, timeout=_TIMEOUT)
    if os.fork():
        os._exit(0)
    embedded.acquire(directory, timeout=_TIMEOUT)
    _say(server.server_pid)
    sys.stdin.read()


def release_beside_child(directory: Path) -> None:
    """Release the server, while a forked child goes on with it."""
    server = embedded.acquire(directory, timeout=_TIMEOUT)
    if os.fork():
        embedded.release(directory)
    else:
        _say(server.server_pid)
    sys.stdin.read()


def execute(directory: Path) -> None:
    """Turn into another program."""
    _say(embedded.acquire(directory, timeout=_TIMEOUT).server_pid)
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"])


def close_descriptors(directory: Path) -> None:
    """Close all that is open, as daemons do, and open something else in its place."""
    embedded.acquire(directory, timeout=_TIMEOUT)
    os.closerange(3, 256)
    strangers = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]
    server = embedded.acquire(directory, timeout=_TIMEOUT)
    for stranger in strangers:
        os.fstat(stranger)
    _say(server.server_pid)
    sys.stdin.read()


def count_children(directory: Path) -> None:
    """Say how many children this process has after it started the server."""
    embedded.acquire(directory, timeout=_TIMEOUT)
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        _say(0)
    else:
        _say(1)
    sys.stdin.read()


def fork_and_die_while_starting(directory: Path) -> None:
    """Be killed while a thread of this process starts the server, and leave a forked child."""
    threading.Thread(target=embedded.acquire, args=(directory,)).start()
    while not _is_locked(directory / "start.lock"):
        time.sleep(0.001)
    if os.fork():
        os.kill(os.getpid(), signal.SIGKILL)
    _say("child")
    sys.stdin.read()


def _is_locked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def crowd(directory: Path, size: str) -> None:
    """Let many processes acquire at the same moment; say which server each of them found."""
    waiting, starting = os.pipe()
    for _ in range(int(size)):
        if os.fork() == 0:
            os.close(starting)
            os.read(waiting, 1)
            server = embedded.acquire(directory, timeout=_TIMEOUT)
            _ping(server.socket_path)
            _say(server.server_pid)
            sys.stdin.read()
            os._exit(0)
    os.close(starting)
    for _ in range(int(size)):
        os.wait()


def churn(directory: Path, seconds: str) -> None:
    """Let processes come and go, with pauses in which the server ends; say what each found."""
    chance = random.Random(5)
    deadline = time.monotonic() + float(seconds)
    while time.monotonic() < deadline:
        children = [_visit(directory, chance) for _ in range(chance.randint(1, 4))]
        for child in children:
            _, status = os.waitpid(child, 0)
            if status:
                _say(f"failed: {os.waitstatus_to_exitcode(status)}")
        time.sleep(chance.uniform(0.0, 0.12))


def _visit(directory: Path, chance: random.Random) -> int:
    delay, stay = chance.uniform(0.0, 0.06), chance.uniform(0.0, 0.03)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            time.sleep(delay)
            server = embedded.acquire(directory, timeout=_TIMEOUT)
            _ping(server.socket_path)
            time.sleep(stay)
            _ping(server.socket_path)
            _say(server.server_pid)
            status = 0
        except Exception as error:
            _say(f"failed: {error}")
        finally:
            os._exit(status)
    return child


def _ping(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5.0)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        reply = connection.recv(64)
    if reply != b"+PONG\r\n":
        raise RuntimeError(f"PING was answered by {reply!r}")


def _say(fact: object) -> None:
    # One write, so that lines of several processes do not mix.
    os.write(1, f"{fact}\n".encode())


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
