"""How a process stands with the store of its circuits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["StoreState", "StoreStatus"]


class StoreState(Enum):
    """Whether calls go by the store that the fleet shares."""

    CONNECTED = "connected"
    UNAVAILABLE = "unavailable"
    DAMAGED = "damaged"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The store of one circuit, as this process knows it; nothing is asked for it.

    Args:
        state: CONNECTED while no command has failed; UNAVAILABLE while the store is silent or
            refuses; DAMAGED when it answers, but not for this circuit: something foreign was
            found under its keys; PRIVATE where the circuit is shared with nobody.
        address: Where the store is, without secrets.
        error: What is wrong, and what to change; None while nothing is.
        seconds: For how long it has been unavailable; None while it is not.
        on_failure: What calls get while it is not CONNECTED: "local", "open", "closed", "raise".
    """

    state: StoreState
    address: str
    error: str | None
    seconds: float | None
    on_failure: str

    @property
    def is_shared(self) -> bool:
        """True while calls go by what the fleet shares."""
        return self.state is StoreState.CONNECTED

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict, the state by its name."""
        return {
            "state": self.state.value,
            "address": self.address,
            "error": self.error,
            "seconds": self.seconds,
            "on_failure": self.on_failure,
        }
