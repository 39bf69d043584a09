"""Lines on stderr about what a command that goes on meets."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bb5_breaker.cli.text import visible

__all__ = ["log_as_notes", "note"]


def note(message: str) -> None:
    """Print one line on stderr."""
    print(_line(message), file=sys.stderr, flush=True)


@contextmanager
def log_as_notes() -> Iterator[None]:
    """Print what the library logs as such lines."""
    log = logging.getLogger("bb5_breaker")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Notes())
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Notes(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            message += f" ({type(error).__name__}: {error})"
        return _line(message)


def _line(message: str) -> str:
    return f"bb5-breaker: {visible(message)}"
