"""From errors of redis-py to errors that say what is wrong, where, and what to change."""

from __future__ import annotations

import re
from typing import Final

from redis import exceptions as failures

from bb5_breaker._store.redirection import RedirectedError, read_redirection
from bb5_breaker._store.scripts import Script
from bb5_breaker._store.tls_advice import advise_on_tls
from bb5_breaker.exceptions import (
    StoreDataError,
    StoreError,
    StorePermissionError,
    StoreRefusedError,
    StoreUnavailableError,
)

__all__ = ["CLIENT_ERRORS", "NoPrimaryError", "explain_fault", "is_replica_error"]

# Not all errors of redis-py derive from RedisError, and a broken socket may
# surface as a plain OSError. A host that no name can be meets the encoder of names first.
CLIENT_ERRORS: Final = (
    failures.RedisError,
    failures.ChildDeadlockedError,
    OSError,
    UnicodeError,
)


class NoPrimaryError(failures.ConnectionError):
    """No sentinel said where the primary is; the message says what to change."""


_LINE = re.compile(r"user_script:\s*(\d+)")
_CALLED = re.compile(r"redis\.p?call\('([A-Z]+)'")
_DENIED = re.compile(r"permissions to run the '([^']+)'")
# The last is what a server says to a long request of one who has not logged in.
_STRANGER = re.compile(r"NOAUTH|WRONGPASS|unauthenticated (?:multi)?bulk")
_NO_RIGHT = re.compile(
    r"NOPERM|no permissions? to|can't run this command|can't publish|can't access at least one",
    re.IGNORECASE,
)
_DENIED_KEY = re.compile(r"access (?:a key|(?:one|at least one) of the keys)")
# Where an error's code stands: a key that is quoted in it may have any of these in its name.
_BUSY = re.compile(
    r"(?:^|[\s-])(?:BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN)\s"
)
# redis-py takes the code away from these.
_REFUSALS: Final = (
    failures.BusyLoadingError,
    failures.ClusterDownError,
    failures.MasterDownError,
    failures.OutOfMemoryError,
    failures.ReadOnlyError,
    failures.TryAgainError,
)
_REPLICA = re.compile(r"(?:^|[\s-])(?:MASTERDOWN|READONLY)\s")
_ELSEWHERE: Final = (
    "name another server with BB5_REDIS_URL or bb5_breaker.configure(url=...), "
    "or unset both to use the embedded one"
)


def explain_fault(
    fault: Exception, address: str, script: Script | None = None, key: bytes = b""
) -> StoreError:
    """Return our error for an error of the client.

    Args:
        fault: What redis-py or the socket raised.
        address: Where the server is, without secrets.
        script: The script that was running; None for a plain command.
        key: A key of the command; empty when it has none.

    Returns:
        An error to raise; never the secret of a URL in its text.
    """
    text = str(fault)
    if isinstance(fault, NoPrimaryError):
        return StoreUnavailableError(f"Redis at {address} can not be found: {text}")
    if isinstance(fault, failures.AuthenticationError) or _STRANGER.search(text):
        return StorePermissionError(
            f"Redis at {address} refused the user's name or password; "
            "put the right ones into the URL"
        )
    if isinstance(fault, failures.NoPermissionError) or _NO_RIGHT.search(text):
        return StorePermissionError(
            f"Redis at {address}: the user has no right to {_denied_deed(text, script, key)}; "
            f"grant it with ACL SETUSER ({_shorten(text)})"
        )
    if isinstance(fault, _REFUSALS) or _BUSY.search(text):
        return StoreRefusedError(f"Redis at {address} can not serve now: {_shorten(text)}")
    if isinstance(fault, failures.ConnectionError | failures.TimeoutError | OSError | UnicodeError):
        advice = advise_on_tls(text, address) or f"start it or check the address, {_ELSEWHERE}"
        return StoreUnavailableError(
            f"Redis at {address} can not be reached: {_shorten(text).rstrip('.')}; {advice}"
        )
    if "BB5DATA" in text:
        return StoreDataError(f"Redis at {address}: {_after('BB5DATA', text)}")
    if "hash value is not an integer" in text:
        return StoreDataError(
            f"Redis at {address}: a counter of the circuit is not a whole number; "
            "correct its hash or delete the key"
        )
    redirection = read_redirection(fault)
    if redirection is not None:
        return RedirectedError(
            f"Redis at {address} is a node of a Cluster, and another one serves this key "
            f"({_shorten(text)}); name the cluster by redis+cluster://host:port",
            redirection,
        )
    return StoreError(f"Redis at {address} refused: {_shorten(text)}")


def is_wrong_type(fault: Exception) -> bool:
    """Return True when a key holds another type than the script needs."""
    return "WRONGTYPE" in str(fault)


def is_missing_script(fault: Exception) -> bool:
    """Return True when the server does not know the script: restarted, or SCRIPT FLUSH."""
    return isinstance(fault, failures.NoScriptError) or str(fault).startswith("NOSCRIPT")


def _denied_deed(text: str, script: Script | None, key: bytes) -> str:
    if key and _DENIED_KEY.search(text):
        return f"use the key {key.decode(errors='replace')}"
    return f"run {_denied_command(text, script)}"


def is_replica_error(fault: Exception) -> bool:
    """Return True when a server refused because it is a replica."""
    if isinstance(fault, failures.ReadOnlyError | failures.MasterDownError):
        return True
    return _REPLICA.search(str(fault)) is not None


def _denied_command(text: str, script: Script | None) -> str:
    named = _DENIED.search(text)
    if named:
        return named.group(1).upper()
    # Where a script passes an error on, its own line comes first and that of the command last.
    lines = _LINE.findall(text)
    called = _CALLED.search(script.line(int(lines[-1]))) if lines and script else None
    return called.group(1) if called else "a command of the scripts"


def _after(word: str, text: str) -> str:
    return _shorten(text.split(word, 1)[1].strip())


def _shorten(text: str) -> str:
    return text if len(text) <= 300 else text[:300] + "..."
