"""What a consumer of a group says in the log when the store gives it trouble."""

from __future__ import annotations

import logging

from bb5_breaker._bus.complaints import Complaints
from bb5_breaker.exceptions import StoreError

__all__ = ["GroupTroubles"]

_log = logging.getLogger("bb5_breaker")


class GroupTroubles:
    """Says each thing once. For use by one thread.

    Args:
        group: Name of the group.
        address: Where Redis is, without secrets.
    """

    def __init__(self, group: str, address: str) -> None:
        self._group = group
        self._address = address
        self._complaints = Complaints()
        self._is_lost = False

    def note_loss(self, error: StoreError) -> None:
        """The store does not answer."""
        if not self._is_lost:
            self._is_lost = True
            _log.warning("%s. Group %r goes on as soon as it can", error.message, self._group)

    def note_return(self) -> None:
        """The store answers."""
        if self._is_lost:
            self._is_lost = False
            _log.warning("group %r goes on, Redis at %s answers", self._group, self._address)

    def complain(self, error: StoreError) -> None:
        """Something is wrong with one key."""
        if self._complaints.claim((type(error),)):
            _log.error(
                "%s. Group %r goes on with other circuits (the like is logged once a minute)",
                error.message,
                self._group,
            )
