"""Real servers for the tests: what there is, and how to start one.

`discover()` lists the kinds, `start(kind)` runs one of them. Whatever a test does to a
server that it started itself is its own affair; the servers of the fixtures are shared.
"""

from __future__ import annotations

from .containers import ContainerServer
from .kinds import Origin, ServerKind, WantedServer, discover, missing
from .processes import LocalServer, start_on_free_port
from .running import Config, RunningServer, ServerStartError

__all__ = [
    "Config",
    "Origin",
    "RunningServer",
    "ServerKind",
    "ServerStartError",
    "WantedServer",
    "discover",
    "missing",
    "start",
]


def start(kind: ServerKind, *, config: Config | None = None, tcp: bool = False) -> RunningServer:
    """Start a server of that kind and return once it answers PING.

    The server keeps nothing on disk, listens on a Unix socket in a directory of its own,
    and is ended with the test process if `stop()` was not called, even after kill -9.

    Args:
        kind: one of `discover()`.
        config: settings as in redis.conf, over the defaults; a list repeats a setting.
        tcp: listen on a free loopback port as well, and use it in the URL.

    Returns:
        The running server; also a context manager that stops it.

    Raises:
        ServerStartError: it ended or did not answer in time; the message holds its log.
    """
    settings = config or {}
    if kind.origin is Origin.DOCKER:
        return ContainerServer(kind, settings)
    if tcp:
        return start_on_free_port(kind, settings, LocalServer)
    return LocalServer(kind, settings, port=None)
