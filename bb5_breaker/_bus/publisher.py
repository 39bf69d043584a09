"""The way out: publishing, over connections apart from the feed's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bb5_breaker._bus.faults import explain_refusal, explain_store_error
from bb5_breaker._bus.source import Source
from bb5_breaker._store.faults import CLIENT_ERRORS
from bb5_breaker._store.targets import close_client
from bb5_breaker.exceptions import RedisConnectionError, StoreError

__all__ = ["Publisher"]


class Publisher:
    """Publishes until it is closed. Thread-safe.

    Args:
        source: Where Redis is.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._idle = threading.Condition()
        self._under_way = 0
        self._is_closed = False

    def publish(self, channel: str, payload: bytes) -> int:
        """Publish once; nothing is repeated.

        Returns:
            How many subscriptions received it.

        Raises:
            RedisConnectionError: Redis can not be reached, or this was closed.
            RedisPubSubError: Redis refused.
        """
        with self._use():
            try:
                return int(self._source.client.publish(channel, payload))
            except StoreError as error:
                raise explain_store_error(error) from error
            except CLIENT_ERRORS as fault:
                deed = f"publish on '{channel}'"
                raise explain_refusal(fault, self._source.address, deed) from fault

    def close(self, seconds: float) -> None:
        """Publish no more, and close the connections once none is in use.

        One that is in use is never closed: its descriptor could be another's a moment later,
        whose bytes the publishing thread would then read.

        Args:
            seconds: Seconds to wait for what is under way; what takes longer is left to close
                with the last reference to it.
        """
        with self._idle:
            self._is_closed = True
            if self._idle.wait_for(lambda: self._under_way == 0, timeout=seconds):
                close_client(self._source.client)

    @contextmanager
    def _use(self) -> Iterator[None]:
        with self._idle:
            if self._is_closed:
                raise RedisConnectionError("the event bus was disconnected; call connect() first")
            self._under_way += 1
        try:
            yield
        finally:
            with self._idle:
                self._under_way -= 1
                self._idle.notify_all()
