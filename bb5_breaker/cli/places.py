"""How a command names the place that it looked at."""

from __future__ import annotations

from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.failures import CommandError

__all__ = ["no_match", "place", "unknown_circuit", "where"]


def place(store: RedisStore) -> dict[str, str]:
    """Return it for a JSON document."""
    return {"store": store.address, "prefix": store.rules.prefix}


def where(store: RedisStore) -> str:
    """Return it for the end of a sentence."""
    return f"at {store.address} under the prefix {store.rules.prefix}"


def unknown_circuit(store: RedisStore, service: str) -> CommandError:
    """Return the error for a service that has no circuit there."""
    return CommandError(f"no circuit {service!r} {where(store)}", ExitCode.NOTHING)


def no_match(store: RedisStore, glob: str) -> CommandError:
    """Return the error for a pattern that no circuit there matches."""
    return CommandError(f"no circuit matches {glob!r} {where(store)}", ExitCode.NOTHING)
