"""Which options a URL may have."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, Final

import redis

from bb5_breaker._store.addresses import SENTINEL_SCHEME, mask_url

__all__ = ["check_url_options", "with_name_check"]

# Others are ours to set, or would make an object out of text.
_PLAIN: Final = frozenset(
    {
        "db",
        "decode_responses",
        "host",
        "password",
        "path",
        "port",
        "protocol",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_timeout",
        "username",
    }
)
_TLS: Final = frozenset(
    name for name in signature(redis.SSLConnection).parameters if name.startswith("ssl_")
)
_WITH_TLS: Final = ("rediss://", SENTINEL_SCHEME)
# As redis-py and OpenSSL take them; anything else would be refused in the middle of a call.
_CERT_REQS: Final = ("none", "optional", "required")
_VERSIONS: Final = (771, 772)


def check_url_options(url: str, options: Mapping[str, Any]) -> None:
    """Refuse at once what redis-py would refuse later, in the middle of a call.

    Args:
        url: The URL, for messages; its secrets are not shown.
        options: What redis-py read in it.

    Raises:
        ValueError: An option is unknown, out of place or malformed.
    """
    for name in options:
        if name in _TLS:
            if not url.startswith(_WITH_TLS):
                raise _refusal(url, name, "needs TLS; begin the URL with rediss://")
        elif name not in _PLAIN:
            raise _refusal(
                url,
                name,
                "is not supported; use db, socket_keepalive, ssl_... as "
                "rediss://host:port/db?option=value",
            )
    if options.get("ssl_cert_reqs", "required") not in _CERT_REQS:
        raise _refusal(url, "ssl_cert_reqs", f"must be one of {', '.join(_CERT_REQS)}")
    if options.get("ssl_min_version", _VERSIONS[0]) not in _VERSIONS:
        raise _refusal(url, "ssl_min_version", "must be 771, for TLS 1.2, or 772, for TLS 1.3")


def with_name_check(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a connection with TLS, which checks the server's name unless told not.

    Older releases of redis-py do not check it by themselves.
    """
    is_checked = options.get("ssl_cert_reqs") != "none"
    return {"ssl_check_hostname": is_checked, **options}


def _refusal(url: str, name: str, reason: str) -> ValueError:
    return ValueError(f"{mask_url(url)}: the URL's option {name!r} {reason}")
