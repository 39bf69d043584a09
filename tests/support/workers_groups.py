"""Consumers of one group, in this process and in others: python -m tests.support.workers_groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bb5_breaker._bus.groups import GroupConsumer
from bb5_breaker._core.policy import StoreRules
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.event_bus import EventBusConfig, RedisEventBus
from bb5_breaker.events import Event
from tests.support.buses import QUICK

_ROOT = Path(__file__).parents[2]
_LONGEST = 120.0


def make_consumer(
    url: str, prefix: str, group: str, handler: Callable[[str, Event], object], **settings: Any
) -> GroupConsumer:
    """Make a consumer that has not begun, on a store of its own."""
    store = RedisStore(client_from_url(url, 5.0), StoreRules(prefix=prefix), url)
    wants = settings.pop("wants", lambda service: True)
    return GroupConsumer(store, group, wants, handler, **settings)


def consume(
    bus: RedisEventBus,
    url: str,
    group: str,
    handler: Callable[[str, Event], object],
    **settings: Any,
) -> GroupConsumer:
    """Begin a consumer that a connected bus wakes."""
    prefix = str(bus.config.prefix)

    def wake(topic: str, event: Event) -> None:
        consumer.wake(event.data.get("service"))

    consumer = make_consumer(
        url,
        prefix,
        group,
        handler,
        on_stop=lambda: bus.unsubscribe("circuit_breaker.*", wake),
        **settings,
    )
    bus.subscribe("circuit_breaker.*", wake)
    consumer.start()
    return consumer


class Members:
    """Processes that consume under one group name, and tell what they handle.

    Args:
        url: Where the circuits are.
        prefix: Prefix of keys and channels.
        group: Name of the group.
        count: How many processes.
        settings: Arguments of the consumers; ``hang`` has handlers never return.
    """

    def __init__(self, url: str, prefix: str, group: str, count: int, **settings: Any) -> None:
        words = [sys.executable, "-m", __name__, url, prefix, group, json.dumps(settings)]
        self.children = [
            subprocess.Popen(
                words, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        self.told: list[list[str]] = [[] for _ in self.children]
        for child in self.children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            os.set_blocking(child.stdout.fileno(), False)

    @property
    def ids(self) -> list[str]:
        """Ids of the transitions whose handlers were called by now, in any process."""
        for child, told in zip(self.children, self.told, strict=True):
            assert child.stdout is not None
            while line := child.stdout.readline():
                told.append(line.strip())
        return [each for told in self.told for each in told]

    def kill(self, number: int) -> None:
        """End one of them at once, and return when it is gone."""
        self.children[number].kill()
        self.children[number].wait(_LONGEST)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self.children:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()


def _work(url: str, prefix: str, group: str, settings: dict[str, Any]) -> None:
    hangs = settings.pop("hang", False)

    def handler(topic: str, event: Event) -> None:
        # One write of one line: a kill can not halve it.
        os.write(1, f"{event.metadata.event_id}\n".encode())
        if hangs:
            time.sleep(_LONGEST)

    bus = RedisEventBus(EventBusConfig(url=url, prefix=prefix, **QUICK))
    with bus, consume(bus, url, group, handler, **settings):
        os.write(1, b"ready\n")
        # Until the test closes it, or is gone.
        sys.stdin.read()


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
