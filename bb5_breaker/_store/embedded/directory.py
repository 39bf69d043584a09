"""The directory of the embedded server: where it is, and whether it is safe to use."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from bb5_breaker._store.embedded.supervisor.contract import SOCKET
from bb5_breaker.exceptions import EmbeddedServerError

START_LOCK = "start.lock"
LOG = "valkey.log"

# Size of sun_path without its closing zero byte.
_SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107


def default_directory() -> Path:
    """Return the directory that is used when none is given.

    That is ``$BB5_EMBEDDED_DIR``, else ``$XDG_RUNTIME_DIR/bb5-breaker`` when that runtime
    directory is this user's own, else ``bb5-breaker-<uid>`` in the directory for temporary files.
    Processes with different values of these variables (a login session and a cron job, for
    example) have different servers; set ``BB5_EMBEDDED_DIR`` for both to share one.
    """
    chosen = os.environ.get("BB5_EMBEDDED_DIR")
    if chosen:
        return Path(chosen)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime) and _is_own(runtime):
        return Path(runtime, "bb5-breaker")
    from tempfile import gettempdir

    return Path(gettempdir(), f"bb5-breaker-{os.geteuid()}")


def prepare_directory(directory: Path | None) -> Path:
    """Return the directory as an absolute path, made when it is missing, and checked.

    Raises:
        EmbeddedServerError: It is unsafe, or its path is too long for a socket.
    """
    path = resolve_directory(directory)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        raise EmbeddedServerError(
            f"cannot make {path} for the embedded server: {path.parent} does not exist; "
            "make it, or set BB5_EMBEDDED_DIR to another directory"
        ) from error
    return check_directory(path)


def resolve_directory(directory: Path | None) -> Path:
    """Return the absolute path of a directory (None: the default), whether it exists or not.

    Raises:
        EmbeddedServerError: The path is too long for a socket, or the system has no such server.
    """
    if os.name != "posix":
        raise EmbeddedServerError(
            "the embedded server needs Linux or macOS; give the URL of a Redis or Valkey server"
        )
    path = Path(os.path.abspath(default_directory() if directory is None else directory))
    length = len(os.fsencode(path / SOCKET))
    if length > _SOCKET_PATH_LIMIT:
        raise EmbeddedServerError(
            f"{path} is too long for a Unix socket: {path / SOCKET} has {length} bytes of "
            f"at most {_SOCKET_PATH_LIMIT}; set BB5_EMBEDDED_DIR to a shorter path"
        )
    return path


def check_directory(path: Path) -> Path:
    """Return the path when nobody else can have planted or can change what is in it.

    Raises:
        EmbeddedServerError: It is a symlink, no directory, of another user, or open to others.
    """
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        problem = "is a symbolic link"
    elif not stat.S_ISDIR(found.st_mode):
        problem = "is not a directory"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to user id {found.st_uid}, not to {os.geteuid()}"
    elif found.st_mode & 0o077:
        problem = f"is open to others (mode {stat.S_IMODE(found.st_mode):04o}, not 0700)"
    else:
        return path
    raise EmbeddedServerError(
        f"{path} {problem}, so another user may have planted it: the embedded server does not "
        "use it; remove it, or set BB5_EMBEDDED_DIR to a directory of your own"
    )


def _is_own(path: str) -> bool:
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False
