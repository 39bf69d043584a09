"""The event bus: transitions of circuits, and events of your own, over Redis."""

from __future__ import annotations

import logging
import os
import threading

from bb5_breaker._bus.bus import RedisEventBus
from bb5_breaker._bus.bus_config import EventBusConfig
from bb5_breaker._bus.groups import GroupConsumer, GroupStats
from bb5_breaker._bus.listener import Listener
from bb5_breaker._bus.states import BusState, BusStats
from bb5_breaker.events import EventType, Topics

__all__ = [
    "BusState",
    "BusStats",
    "EventBusConfig",
    "EventType",
    "GroupConsumer",
    "GroupStats",
    "Listener",
    "RedisEventBus",
    "Topics",
    "get_event_bus",
    "shutdown_event_bus",
]

_log = logging.getLogger("bb5_breaker")
_bus: RedisEventBus | None = None
_bus_lock = threading.Lock()


def get_event_bus(config: EventBusConfig | None = None) -> RedisEventBus:
    """Return the event bus of this process, connected.

    It is made at the first call. A later call connects it when it is disconnected, as it is in
    the child of a fork, and leaves it alone while it reconnects by itself.

    Args:
        config: Its settings; None gives the defaults. Other settings in a later call change
            nothing and log a warning.

    Raises:
        RedisConnectionError: No Redis could be reached; the next call tries again.
        ValueError: The configured URL is malformed.
        TypeError: ``config`` is of the wrong kind.
    """
    global _bus
    with _bus_lock:
        if _bus is None:
            _bus = RedisEventBus(config)
        bus = _bus
    if config is not None and config != bus.config:
        _log.warning(
            "the event bus of this process keeps the settings of the first get_event_bus(); "
            "others were given. Call shutdown_event_bus() first, or make a RedisEventBus"
        )
    bus.connect()
    return bus


def shutdown_event_bus() -> None:
    """Disconnect the event bus of this process and forget its subscriptions.

    The next :func:`get_event_bus` makes a new one. Nothing happens when there is none.
    """
    global _bus
    with _bus_lock:
        bus, _bus = _bus, None
    if bus is not None:
        bus.unsubscribe_all()
        bus.disconnect()


def _renew_lock() -> None:
    # Another thread may have held it at the fork, and does not exist in the child.
    global _bus_lock
    _bus_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
