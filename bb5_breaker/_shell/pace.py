"""How often a process does what it does in the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_PACE", "Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """The intervals of a link, in seconds; see :func:`~bb5_breaker.configure`.

    Args:
        retry_interval: Between attempts while the store is down.
        flush_interval: Between reports of what gathered in the process.
        flush_size: Outcomes of one circuit that are reported sooner.
        heartbeat_interval: Between signs of life of the feed.
    """

    retry_interval: float = 1.0
    flush_interval: float = 0.1
    flush_size: int = 100_000
    heartbeat_interval: float = 1.0


DEFAULT_PACE: Final = Pace()
