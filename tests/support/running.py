"""What every running test server offers, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import least_user
from .kinds import ServerKind

ConfigValue = str | int | list[str]
Config = Mapping[str, ConfigValue]

START_SECONDS = 20.0

# As the library's own clients: a failure is seen at once and by the one who met it.
_CLIENT_OPTIONS: dict[str, Any] = {"socket_timeout": 10.0, "protocol": 2}


class ServerStartError(RuntimeError):
    """A server did not start; the message ends with its log."""


class RunningServer(ABC):
    """A server that the tests started and may do anything to.

    Args:
        kind: what was started.
        config: settings over those of a server without persistence.
    """

    def __init__(self, kind: ServerKind, config: Config) -> None:
        self.kind = kind
        self.config = dict(config)

    @property
    def url(self) -> str:
        """The URL of the server: as the user of this test run, see least_user.py."""
        return self._locate(least_user.CREDENTIALS) if least_user.is_wanted() else self.admin_url

    @property
    def admin_url(self) -> str:
        """The URL of the server, with the password when the config sets one."""
        password = self.config.get("requirepass")
        return self._locate(f":{password}@" if password else "")

    @abstractmethod
    def _locate(self, credentials: str) -> str:
        """Return the URL of the server with what stands before its place."""

    @property
    @abstractmethod
    def socket(self) -> Path | None:
        """The Unix socket; None when the server has none (Docker)."""

    @property
    @abstractmethod
    def port(self) -> int | None:
        """The TCP port on loopback; None when TCP was not asked for."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process id of the server as it runs now; another one after restart()."""

    @abstractmethod
    def stop(self) -> None:
        """End the server for good and remove what it wrote; twice is no harm."""

    @abstractmethod
    def kill(self) -> None:
        """End the server at once, as kill -9 does; restart() brings it back."""

    @abstractmethod
    def pause(self) -> None:
        """Freeze the server: its connections stay up and nothing answers."""

    @abstractmethod
    def resume(self) -> None:
        """Let a paused server go on."""

    @abstractmethod
    def restart(self) -> None:
        """Start the server anew at the same address, ending it in good order if it runs.

        What it remembers is what its config persists; that is nothing by default.
        """

    def client(self, **options: Any) -> redis.Redis:
        """Make a client of this server, for the tests: RESP2, no retries, time-outs of ten seconds.

        Args:
            **options: what `redis.Redis.from_url` takes, over those defaults.
        """
        defaults = _CLIENT_OPTIONS | {"retry": Retry(NoBackoff(), 0)}
        return redis.Redis.from_url(self.admin_url, **(defaults | options))

    def answers(self) -> bool:
        """Whether the server answers PING within a second."""
        try:
            with self.client(socket_timeout=1.0) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def reported_version(self) -> str:
        """The version that the server itself tells."""
        with self.client() as client:
            info = client.info("server")
        return str(info.get("valkey_version") or info["redis_version"])

    def start_error(self, what: str, log: str) -> ServerStartError:
        """Make the error that tells what a server did instead of starting."""
        return ServerStartError(f"{self.kind.name} ({self.kind.found}) {what}. Its log:\n{log}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        # Not the URL: it may hold a password.
        return f"<{type(self).__name__} {self.kind.name}>"
