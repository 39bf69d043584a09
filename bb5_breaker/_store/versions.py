"""The oldest servers that the scripts are proven on."""

from __future__ import annotations

import re
from typing import Any, Final

import redis

from bb5_breaker._store.faults import CLIENT_ERRORS, explain_fault
from bb5_breaker.exceptions import StoreVersionError

__all__ = ["OLDEST", "check_version"]

OLDEST: Final = (6, 2)


def check_version(client: redis.Redis, address: str) -> None:
    """Refuse a server that is too old, before anything is written.

    Args:
        client: Client of the server.
        address: Where it is, without secrets.

    Raises:
        StoreVersionError: It is older than Redis 6.2.
        StoreError: It can not be reached.
    """
    try:
        found = _read_version(client.execute_command("INFO", "server"))
    except redis.ResponseError:
        # A user with least rights, or a managed service without INFO, may not look;
        # the scripts will say what fails.
        return
    except CLIENT_ERRORS as fault:
        raise explain_fault(fault, address) from fault
    if found is not None and found < OLDEST:
        raise StoreVersionError(
            f"the server at {address} is Redis {found[0]}.{found[1]}; "
            f"bb5-breaker needs Redis {OLDEST[0]}.{OLDEST[1]} or newer, or Valkey"
        )


def _read_version(info: Any) -> tuple[int, int] | None:
    text = info.get("redis_version", "") if isinstance(info, dict) else str(info)
    match = re.match(r"(\d+)\.(\d+)", str(text))
    return (int(match.group(1)), int(match.group(2))) if match else None
