"""Text for people: what is stored may be hostile, and times should be short."""

from __future__ import annotations

from typing import Final

__all__ = ["format_age", "format_moment", "visible"]

_LONGEST: Final = 500
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


def visible(text: str) -> str:
    r"""Return text with everything that a terminal would not show as it is written as ``\x1b``.

    That covers control characters, escape sequences, line breaks, and marks that turn the
    direction of writing. Very long text is cut.
    """
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def format_age(seconds: float) -> str:
    """Return a time span in one unit: 0.4s, 12s, 7m, 3h, 12d."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f}s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f}m"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f}h"
    return f"{seconds / _DAY:.0f}d"


def format_moment(iso: str) -> str:
    """Return an ISO time in UTC in whole seconds, as people read it."""
    return iso.replace("T", " ").partition(".")[0].partition("+")[0].removesuffix("Z") + " UTC"
