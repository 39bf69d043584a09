"""The way to the store of one breaker or manager, opened when it is first needed."""

from __future__ import annotations

from bb5_breaker._shell.link import Link
from bb5_breaker._shell.stakes import Stake
from bb5_breaker._store.opening import Target
from bb5_breaker.configuration import Settings, current_settings, open_link

__all__ = ["LinkOpener"]


class LinkOpener:
    """Opens the link to a target, and again when the process is configured anew. Thread-safe.

    Args:
        target: A client or URL; None takes what is configured for the process.
        stake: What is to recover without calls, wherever the circuit lives; None for nothing.

    Raises:
        ValueError: The URL is malformed.
        TypeError: The client is of an unsupported kind.
    """

    __slots__ = ("_opened", "_stake", "_target")

    def __init__(self, target: Target, stake: Stake | None = None) -> None:
        self._target = target
        self._stake = stake
        # The link with the settings that it was opened for, replaced as one.
        self._opened: tuple[Settings, Link] | None = None
        if target is not None:
            self.link()

    @property
    def is_open(self) -> bool:
        """True when the link is at hand; opening it may mean to start a server."""
        opened = self._opened
        return opened is not None and opened[0] is current_settings()

    def link(self) -> Link:
        """Return the link; a Redis is not connected before its first command."""
        return self.open()[1]

    def open(self) -> tuple[Settings, Link]:
        """Return the settings in force and the link that they lead to."""
        opened = self._opened
        settings = current_settings()
        if opened is None or opened[0] is not settings:
            link = open_link(settings, self._target)
            if self._stake is not None:
                link.recovery.follow(self._stake)
            opened = self._opened = (settings, link)
        return opened
