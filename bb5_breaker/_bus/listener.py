"""Events as they are iterated over in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self
from weakref import finalize

from bb5_breaker._bus.inboxes import Inbox
from bb5_breaker._shell.aside import ask_aside
from bb5_breaker.events import Event

__all__ = ["Arrivals", "Listener"]


class Arrivals:
    """Tells the one who waits for an event that there may be one. For one loop's thread."""

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    def tell(self) -> None:
        """There may be one."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until there may be one.

        Raises:
            RuntimeError: Another task waits already.
        """
        if self._waiter is not None:
            raise RuntimeError("another task waits for the next event; give each its own listen()")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Listener:
    """The events of one topic, for ``async for`` in one task of one event loop.

    It listens from the moment it is made. It ends when it is closed, which ``async with`` does at
    its end, or when it is let go of; a lost connection does not end it.

    Args:
        arrivals: Told by the inbox.
        inbox: Where the events come from.
        confirm: Waits until Redis confirmed the subscription.
        leave: Takes the subscription back.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        inbox: Inbox,
        confirm: Callable[[], object],
        leave: Callable[[], object],
    ) -> None:
        self._arrivals = arrivals
        self._inbox = inbox
        self._confirm: Callable[[], object] | None = confirm
        self._leave: Callable[[], object] | None = leave
        # The dispatcher takes the subscription out when it finds nobody here.
        finalize(self, inbox.abandon).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        await self._begin()
        while self._leave is not None:
            item = self._inbox.take()
            if item is not None:
                return item[1]
            await self._arrivals.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Listen no more. Whoever waits for an event is told that there are no more."""
        leave, self._leave = self._leave, None
        if leave is not None:
            self._inbox.abandon()
            leave()
            self._arrivals.tell()

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _begin(self) -> None:
        confirm, self._confirm = self._confirm, None
        if confirm is not None and self._leave is not None:
            await ask_aside(confirm)
