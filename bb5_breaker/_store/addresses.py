"""How a Redis is named in messages: never with its secrets."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

__all__ = ["SENTINEL_SCHEME", "join_host", "mask_url", "split_hosts"]

SENTINEL_SCHEME: Final = "redis+sentinel://"


def mask_url(url: str) -> str:
    """Return a URL without user name, password, query and fragment.

    Args:
        url: Any text that was given as a URL.

    Returns:
        Scheme, hosts, ports and path; the scheme alone when the rest can not be read safely.
    """
    try:
        parts = urlsplit(url)
        hosts = split_hosts(parts.netloc.rpartition("@")[2])
    except ValueError:
        return f"{url.partition('://')[0][:20]}://..."
    if not parts.scheme:
        return "(no scheme)"
    if "@" in parts.path:
        return f"{parts.scheme}://..."
    shown = ",".join(join_host(host, port) for host, port in hosts)
    return f"{parts.scheme}://{shown}{parts.path}"


def split_hosts(text: str) -> list[tuple[str, int | None]]:
    """Return the hosts and ports of a list like ``a:1,[::1]:2,c``; None for a port left out.

    Raises:
        ValueError: A port is no number, or a bracket is missing.
    """
    parts = [urlsplit(f"//{each}") for each in text.split(",")]
    return [(part.hostname or "", part.port) for part in parts]


def join_host(host: str, port: int | None) -> str:
    """Return a host and its port as a URL names them."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"
