"""The one check of service ids."""

from __future__ import annotations

import re

__all__ = ["MAX_LENGTH", "check_prefix", "check_service_id"]

MAX_LENGTH = 200

# Braces would break the hash tag that keeps a circuit in one Cluster slot, glob
# characters would let one id read another's channels.
_FORBIDDEN = re.compile(r"[\s{}*?\[\]\\\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


def check_service_id(service_id: object) -> str:
    r"""Return ``service_id`` when it is a good one.

    Args:
        service_id: 1 to 200 characters, without white space, control characters, braces or
            the glob characters ``* ? [ ] \``.

    Returns:
        The id itself.

    Raises:
        ValueError: The id is not of that form; the message says what to change.
    """
    if not isinstance(service_id, str):
        raise ValueError(
            f"service_id must be a str, got {type(service_id).__name__}; "
            "name the service, for example 'agent.researcher'"
        )
    if not 1 <= len(service_id) <= MAX_LENGTH:
        raise ValueError(
            f"service_id must have 1 to {MAX_LENGTH} characters, got {len(service_id)}"
        )
    found = _FORBIDDEN.search(service_id)
    if found:
        raise ValueError(
            f"service_id {service_id!r} has {found.group()!r} at position {found.start()}; "
            "use no white space, control characters, braces or glob characters"
        )
    return service_id


def check_prefix(prefix: object) -> str:
    """Return ``prefix`` when it can begin the names of keys and channels.

    Args:
        prefix: 1 to 64 ASCII letters, digits, ``_``, ``.``, ``:`` or ``-``.

    Returns:
        The prefix itself.

    Raises:
        ValueError: The prefix is not of that form.
    """
    if not isinstance(prefix, str) or not _PREFIX.match(prefix):
        raise ValueError(
            f"prefix must be 1 to 64 ASCII letters, digits, '_', '.', ':' or '-', got {prefix!r}"
        )
    return prefix
