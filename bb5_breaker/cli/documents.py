"""What a command found: one set of data with two forms, text and JSON."""

from __future__ import annotations

import json
from typing import Any, Protocol

from bb5_breaker.cli.exit_codes import ExitCode

__all__ = ["Document", "emit"]


class Document(Protocol):
    """What a command prints."""

    @property
    def exit_code(self) -> ExitCode:
        """How the command ends."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""

    def print_text(self) -> None:
        """Print it for people."""


def emit(document: Document, *, as_json: bool) -> ExitCode:
    """Print a document in the form that was asked for.

    Returns:
        How the command ends.
    """
    if as_json:
        print(json.dumps(document.to_dict()))
    else:
        document.print_text()
    return document.exit_code
