"""Which Redis a command reads: never one that it would have to start."""

from __future__ import annotations

import os
from typing import Final

from bb5_breaker._store import embedded
from bb5_breaker._store.embedded import EmbeddedServer
from bb5_breaker._store.opening import URL_VARIABLE, open_store
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.cli.arguments import as_usage_error
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.failures import CommandError
from bb5_breaker.configuration import Settings
from bb5_breaker.service_id import check_prefix

__all__ = ["find_store"]

_TIMEOUT: Final = 2.0
# The bounds of configure(): a transition made by a command must not cut a history that the fleet
# keeps longer than we would.
_MOST_HISTORY: Final = 1_000_000
_LONGEST_HISTORY: Final = 3660 * 86_400.0
_EMBEDDED: Final = "embedded://"
_PRIVATE: Final = "private://"


def find_store(url: str | None, prefix: str) -> RedisStore:
    """Return the store that a command works on.

    Args:
        url: Given with ``--redis``; None takes ``BB5_REDIS_URL``, else the embedded server.
        prefix: Beginning of the names of keys.

    Raises:
        CommandError: The URL or the prefix is malformed, or no server runs.
        EmbeddedServerError: The directory of the embedded server is unsafe.
    """
    with as_usage_error():
        rules = Settings(
            prefix=check_prefix(prefix), history_limit=_MOST_HISTORY, history_age=_LONGEST_HISTORY
        ).rules
    wanted = url if url is not None else os.environ.get(URL_VARIABLE) or _EMBEDDED
    if wanted.startswith(_EMBEDDED):
        wanted = _running_embedded()
    if wanted.startswith(_PRIVATE):
        raise CommandError(f"{_PRIVATE} is a process's own; name a Redis", ExitCode.USAGE)
    with as_usage_error():
        store = open_store(wanted, rules, _TIMEOUT)
    assert isinstance(store, RedisStore)
    return store


def _running_embedded() -> str:
    found = embedded.status()
    if not found.running or found.server_pid is None:
        raise CommandError(
            f"no Redis is named and no embedded server runs in {found.directory}; name one with "
            f"--redis or {URL_VARIABLE}, or start the embedded one: bb5-breaker server start",
            ExitCode.NOTHING,
        )
    return EmbeddedServer(found.directory, found.socket_path, found.server_pid).url
