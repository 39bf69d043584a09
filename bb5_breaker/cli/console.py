"""Where tables go: a terminal in its width and colours, or a pipe in full."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bb5_breaker.cli.text import visible

__all__ = ["SEVERITY_STYLES", "STYLES", "make_console", "make_table", "plain", "state_text"]

STYLES: Final = {
    "open": "bold red",
    "half_open": "yellow",
    "closed": "green",
    "unreadable": "bold magenta",
}
SEVERITY_STYLES: Final = {"problem": "bold red", "warning": "yellow", "ok": "green"}
# Nobody's terminal: what is piped is neither folded nor cut.
_PIPED_WIDTH: Final = 100_000


def make_console() -> Console:
    """Return a console on stdout that takes text as it is, without any markup."""
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def make_table() -> Table:
    """Return an empty table without frames, so that names have room at 80 columns."""
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")


def plain(text: object, style: str = "") -> Text:
    """Return text that is shown letter by letter, whatever it holds."""
    return Text(visible(str(text)), style=style)


def state_text(state: str) -> Text:
    """Return the name of a state in its colour; a foreign one as it is."""
    return plain(state.replace("_", "-"), STYLES.get(state, ""))
