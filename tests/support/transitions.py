"""Circuits that open and close as often as a test wants, in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure
from bb5_breaker.exceptions import StoreError

_ROOT = Path(__file__).parents[2]
_LONGEST = 120.0
# So that a test has time to do harm between them.
_PAUSE = 0.05
RULES = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=3600.0, call_timeout=None)


def make_flipper(service: str, **where: Any) -> CircuitBreaker:
    """Return a breaker whose circuit opens at the first failure and stays so until a reset."""
    return CircuitBreaker(service, RULES, **where)


def flip(breaker: CircuitBreaker, count: int) -> None:
    """Make that many transitions: open, closed, open, and so on."""
    for _ in range(count):
        if not trip(breaker):
            breaker.reset()


def trip(breaker: CircuitBreaker) -> bool:
    """Open the circuit; False when it is open already."""

    def broken() -> None:
        raise OSError("service is down")

    return not breaker.call_result(broken).was_rejected


class Crew:
    """Worker processes that share some circuits and make transitions of them.

    Args:
        url: Where the circuits are.
        prefix: Prefix of keys and channels.
        workers: Processes.
        circuits: Circuits; each belongs to all of them.
        transitions: How many they make together.
    """

    def __init__(
        self, url: str, prefix: str, *, workers: int, circuits: int, transitions: int
    ) -> None:
        share = str(-(-transitions // workers))
        words = [sys.executable, "-m", __name__, url, prefix, str(circuits), share]
        self._children = [
            subprocess.Popen([*words, str(number)], cwd=_ROOT, stdout=subprocess.PIPE)
            for number in range(workers)
        ]
        self._made = [0] * workers
        for child in self._children:
            assert child.stdout is not None
            os.set_blocking(child.stdout.fileno(), False)

    @property
    def made(self) -> int:
        """Transitions that they have made by now."""
        for number, child in enumerate(self._children):
            assert child.stdout is not None
            # One letter a transition.
            self._made[number] += len(child.stdout.read() or b"")
        return sum(self._made)

    @property
    def is_done(self) -> bool:
        """True when all have ended."""
        return all(child.poll() is not None for child in self._children)

    def wait(self) -> None:
        """Wait for their ends."""
        for child in self._children:
            assert child.wait(_LONGEST) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


def _work(url: str, prefix: str, circuits: int, share: int, number: int) -> None:
    configure(url, prefix=prefix, store_timeout=5.0, store_retry_interval=0.05)
    breakers = [
        make_flipper(f"{prefix}-{index}", consistency="strict") for index in range(circuits)
    ]
    made, at = 0, number
    until = time.monotonic() + _LONGEST
    while made < share and time.monotonic() < until:
        at += 1
        time.sleep(_PAUSE)
        breaker = breakers[at % circuits]
        try:
            before = breaker.stats.to_dict()["state_transitions"]
            if not trip(breaker):
                breaker.reset()
            has_moved = breaker.stats.to_dict()["state_transitions"] > before
        except StoreError:
            continue
        if has_moved:
            made += 1
            print(".", end="", flush=True)


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
