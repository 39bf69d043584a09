"""Hears the transitions of the demo's circuit over the event bus, as any program could."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.demo.evidence import SeenEvent
from bb5_breaker.event_bus import EventBusConfig, RedisEventBus
from bb5_breaker.events import CircuitEvent, Topics

__all__ = ["listening"]


@contextmanager
def listening(store: RedisStore, hear: Callable[[SeenEvent], None]) -> Iterator[RedisEventBus]:
    """Pass on each transition, on a thread of the bus, while the context is entered.

    Args:
        store: Where the circuits are.
        hear: Takes each transition.
    """
    # Patient, as a small machine that runs all of the demo at once is slow now and then.
    config = EventBusConfig(
        url=store.address, prefix=store.rules.prefix, timeout=5.0, heartbeat_interval=5.0
    )
    with RedisEventBus(config) as bus:
        bus.subscribe(Topics.CIRCUIT_BREAKER_STATE, lambda _, event: _pass_on(event, hear))
        yield bus


def _pass_on(event: Any, hear: Callable[[SeenEvent], None]) -> None:
    if not isinstance(event, CircuitEvent):
        return
    reason = str(event.data.get("reason", ""))
    hear(
        SeenEvent(
            state=event.state,
            generation=event.generation,
            reason=reason if reason.isidentifier() else "unknown",
            pid=_pid_of(str(event.data.get("changed_by", ""))),
            at_ns=time.monotonic_ns(),
        )
    )


def _pid_of(owner: str) -> int:
    """Return the process in ``host:pid:nonce``; 0 when there is none."""
    parts = owner.split(":")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else 0
