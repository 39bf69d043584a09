"""Whatever asks the demo to end is a Ctrl-C to it, and nothing disturbs its clearing up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

__all__ = ["ended_by_signals", "shielded"]

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt for SIGTERM and SIGHUP as well; for the main thread."""
    with _handling(_interrupt, _ENDING):
        yield


@contextmanager
def shielded() -> Iterator[None]:
    """Let no signal interrupt a block that takes a few seconds at the most."""
    with _handling(signal.SIG_IGN, (signal.SIGINT, *_ENDING)):
        yield


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], Any] | signal.Handlers,
    numbers: tuple[signal.Signals, ...],
) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
