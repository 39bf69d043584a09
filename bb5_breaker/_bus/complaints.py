"""Log lines that a flood of events must not turn into a flood of lines."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["Complaints"]

_MOST_REMEMBERED: Final = 1000
_INTERVAL: Final = 60.0


class Complaints:
    """Lets one complaint of each kind through per interval. For use by one thread.

    Args:
        interval: Seconds between two complaints of one kind; log lines say "once a minute".
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self, interval: float = _INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._clock = clock
        self._last: OrderedDict[Hashable, float] = OrderedDict()

    def claim(self, kind: Hashable) -> bool:
        """Return True when a complaint of this kind may be logged now."""
        now = self._clock()
        last = self._last.get(kind)
        if last is not None and now - last < self._interval:
            return False
        self._last[kind] = now
        self._last.move_to_end(kind)
        if len(self._last) > _MOST_REMEMBERED:
            self._last.popitem(last=False)
        return True
