"""How a Redis is named in messages: never with its secrets."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["mask_url"]


def mask_url(url: str) -> str:
    """Return a URL without user name, password, query and fragment.

    Args:
        url: Any text that was given as a URL.

    Returns:
        Scheme, host, port and path; the scheme alone when the rest can not be read safely.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if ":" in host:
            host = f"[{host}]"
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return f"{url.partition('://')[0][:20]}://..."
    if not parts.scheme:
        return "(no scheme)"
    if "@" in parts.path:
        return f"{parts.scheme}://..."
    return f"{parts.scheme}://{host}{port}{parts.path}"
