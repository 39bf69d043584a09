"""How the bus is doing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["BusState", "BusStats", "Counters"]


class BusState(str, Enum):  # noqa: UP042 - same base classes as CircuitState
    """State of a bus; ``str()`` gives the bare value."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"

    def __str__(self) -> str:
        return self.value

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec)


@dataclass(frozen=True, slots=True)
class BusStats:
    """What a bus has done since it was made.

    Args:
        received: Publications that arrived, each once however many subscriptions match it.
        replayed: Transitions that did not arrive, or came before, and were read in the histories.
        delivered: Calls of handlers, those that raised included.
        dropped: Deliveries left out, the oldest first, because handlers were too slow.
        missed: Transitions that are gone from the histories, and were not told.
        malformed: Publications that were no event, or a transition that the store knows nothing of.
        handler_errors: Calls of handlers that raised.
        reconnects: Times that a lost connection was made again.
    """

    received: int
    replayed: int
    delivered: int
    dropped: int
    missed: int
    malformed: int
    handler_errors: int
    reconnects: int


@dataclass(slots=True)
class Counters:
    """The figures as they grow; each is counted up by one thread alone."""

    received: int = 0
    replayed: int = 0
    delivered: int = 0
    dropped: int = 0
    missed: int = 0
    malformed: int = 0
    handler_errors: int = 0
    reconnects: int = 0

    def read(self) -> BusStats:
        """Return the figures as they are now."""
        return BusStats(
            received=self.received,
            replayed=self.replayed,
            delivered=self.delivered,
            dropped=self.dropped,
            missed=self.missed,
            malformed=self.malformed,
            handler_errors=self.handler_errors,
            reconnects=self.reconnects,
        )
