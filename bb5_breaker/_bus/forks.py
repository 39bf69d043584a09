"""What becomes of buses in the child of a fork."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["disown_in_children"]


class Disownable(Protocol):
    """Something whose threads and sockets stay with the parent."""

    def disown(self) -> None:
        """Let go of all that is the parent's."""


_alive: WeakSet[Disownable] = WeakSet()


def disown_in_children(bus: Disownable) -> None:
    """Have ``bus.disown()`` called in every process that is forked from this one."""
    _alive.add(bus)


def _disown_all() -> None:
    for bus in list(_alive):
        bus.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
