"""What a child of a fork must have anew: locks that another thread of the parent may have held,
connections, names and everything that belongs to threads it does not have.

The hooks run in the child before it has a second thread, so nobody sees half of a change.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet

__all__ = ["ForkSafeLock", "renew_in_children"]


class Renewable(Protocol):
    """Something that belongs to one process."""

    def renew(self) -> None:
        """Begin anew, as if just made."""


_alive: WeakSet[Renewable] = WeakSet()


def renew_in_children(thing: Renewable) -> None:
    """Have ``thing.renew()`` called in every process forked from this one, while it lives."""
    _alive.add(thing)


class ForkSafeLock:
    """A lock that is free in the child of a fork, whoever held it in the parent.

    What it guards must make sense at any moment: it was perhaps being changed. Used as
    ``with guard.lock:``, so that entering and leaving are the lock's own, which no interrupt
    can halve.
    """

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """Be free."""
        self.lock = threading.Lock()


def _renew_all() -> None:
    for thing in list(_alive):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
