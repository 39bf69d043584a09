"""Whether anybody reads what is written to stdout."""

from __future__ import annotations

import io
import os
import select
import sys

__all__ = ["drop_output", "has_reader"]


def has_reader() -> bool:
    """Return False when stdout is a pipe or terminal whose other end is closed."""
    poll = select.poll()
    try:
        # Without a flag it answers with errors alone.
        poll.register(sys.stdout.fileno(), 0)
    except io.UnsupportedOperation:
        # It is no file: whoever put it there reads it.
        return True
    return not poll.poll(0)


def drop_output() -> None:
    """Lead what is still to be written to stdout nowhere.

    Python would write it at its end, and complain once more, or wait for a reader that sleeps.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
