"""Our breakers, set up as benches need them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure

__all__ = ["NEVER", "fail", "leave_server", "make_breaker", "succeed", "trip", "use_server"]

NEVER = 1_000_000
_BACKGROUND = ("bb5-breaker-flush", "bb5-breaker-feed")


def succeed() -> None:
    """Do nothing: the least that can be guarded."""


def fail() -> None:
    """Raise the error that the circuits count."""
    raise ValueError


def use_server(url: str, prefix: str) -> None:
    """Have all breakers of this process use that server; see also :func:`leave_server`."""
    # A time-out on a busy machine would have us measure the stand-in of the store.
    configure(url, prefix=prefix, store_timeout=10.0)


def leave_server() -> None:
    """Have nothing of ours use the server any more: its breakers must be out of use.

    Raises:
        TimeoutError: Something goes on.
    """
    # Where breakers would live from now on; no server is started before a call needs it.
    configure()
    gc.collect()
    end = time.monotonic() + 10.0
    while any(thread.name in _BACKGROUND for thread in threading.enumerate()):
        if time.monotonic() > end:
            raise TimeoutError("our background threads still run")
        time.sleep(0.01)


def make_breaker(
    service: str,
    *,
    consistency: str = "cached",
    threshold: int = NEVER,
    call_timeout: float | None = None,
) -> CircuitBreaker:
    """Return a breaker with a circuit of its own on the server in use.

    Args:
        service: Name of the circuit.
        consistency: "cached" or "strict".
        threshold: Failures in a row that open it.
        call_timeout: As in the configuration.
    """
    config = CircuitBreakerConfig(
        failure_threshold=threshold, timeout_seconds=3600.0, call_timeout=call_timeout
    )
    return CircuitBreaker(service, config, consistency=consistency)


def trip(call: Callable[[], Any], rejection: type[BaseException]) -> None:
    """Make failing calls until the circuit is open.

    Raises:
        AssertionError: It does not open.
    """
    for _ in range(100):
        try:
            call()
        except rejection:
            return
        except ValueError:
            continue
    raise AssertionError(f"a hundred failures brought no {rejection.__name__}")
