"""Interrupts as a signal handler makes them that raises, at every line of our own code."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """What a signal handler raises: Ctrl-C, or the soft time limit of a task queue."""


class Interrupter:
    """Raises at the n-th line of our own code, as a signal handler may at any.

    A tracer also stops between the end of a `with` block and the call of `__exit__`, where
    CPython runs no handler, and at a bare `try:`, where neither does; both are passed over. The
    lines of an `__exit__` written in Python are not: there a handler does run. The test with
    real signals stands beside.
    """

    def __init__(self, countdown: int, folder: str | tuple[str, ...]) -> None:
        self._left = countdown
        self._folder = folder
        self._entered: set[tuple[FrameType, int]] = set()
        self.struck = False

    def _is_passed_over(self, frame: FrameType) -> bool:
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if not text.startswith("with "):
            return text == "try:"
        place = (frame, frame.f_lineno)
        left = place in self._entered
        self._entered.symmetric_difference_update({place})
        return left

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """Trace, as :func:`sys.settrace` wants it."""
        if not frame.f_code.co_filename.startswith(self._folder):
            return None
        if event == "line" and not self._is_passed_over(frame):
            self._left -= 1
            if self._left == 0 and _is_collecting(frame):
                # Python drops what a handler raises there: on to the next line.
                self._left = 1
            elif self._left == 0:
                self.struck = True
                raise Interrupted
        return self


def _is_collecting(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def interrupt(work: Callable[[], Any], line: int, folder: str | tuple[str, ...]) -> bool:
    """Do something that is interrupted at that line; return whether it lasted that long.

    Args:
        work: What to do.
        line: Counted from 1, over all lines that run.
        folder: Beginning of the paths of the files whose lines count, or several.
    """
    interrupter = Interrupter(line, folder)
    before = sys.gettrace()
    sys.settrace(interrupter)
    try:
        work()
    except Interrupted:
        pass
    finally:
        sys.settrace(before)
    return interrupter.struck
