"""One Valkey server for all processes of one user on this machine.

The first process that needs it starts it, the last one that ends takes it down, however it ends.
It listens on a Unix socket in a directory that only the user can enter, on no TCP port, and keeps
nothing on disk.

How it holds together:

- Every user process holds a shared ``flock`` on ``users.lock``. The kernel drops it when the
  process ends; a forked child inherits it, an executed program does not.
- A small supervisor process owns the server. It sleeps until it gets that lock for itself alone,
  which means that nobody is left, or until the server ends, or until it is told to stop.
- Who starts a server holds ``start.lock``. At most one supervisor lives (``supervisor.lock``),
  and at most one server (``server.lock``, which the server itself inherits).
- That a server is up is proven by a PING over its socket, never by a file.

On Linux the kernel ends the server when its supervisor dies. On macOS a server whose supervisor
was killed lives on until the next :func:`acquire`, which replaces it. The directory has to be on
a local file system: network file systems do not keep a lock over a fork. The supervisor belongs
to the control group of the process that started it; a service manager that ends that group ends
the server too, and the next :func:`acquire` brings up a new one.
"""

from __future__ import annotations

from bb5_breaker._store.embedded.binary import is_available
from bb5_breaker._store.embedded.directory import default_directory
from bb5_breaker._store.embedded.lifecycle import acquire, pin, release, status, stop
from bb5_breaker._store.embedded.results import EmbeddedServer, EmbeddedStatus, StopResult

__all__ = [
    "EmbeddedServer",
    "EmbeddedStatus",
    "StopResult",
    "acquire",
    "default_directory",
    "is_available",
    "pin",
    "release",
    "status",
    "stop",
]
