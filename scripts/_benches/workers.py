"""The processes of the fleet: they call in a tight loop, trip the circuit, or watch for that."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

from bb5_breaker import CircuitBreaker, CircuitBreakerOpenError

from .guards import Rules, guard_by_pybreaker
from .ours import NEVER, fail, make_breaker, succeed, use_server

__all__ = ["call_by_ours", "call_by_pybreaker", "watch_circuit"]

_CHUNK = 50
_PAUSE = 0.0005
_LONGEST_SECONDS = 20.0


def call_by_ours(url: str, prefix: str) -> Callable[[float], int]:
    """Return what makes calls for so many seconds, and returns how many, all of them counted."""
    use_server(url, prefix)
    breaker = make_breaker("fleet")
    call = breaker.decorate(succeed)
    call()

    def carry_out(seconds: float) -> int:
        calls = _call_for(seconds, call)
        breaker.flush()
        return calls

    return carry_out


def call_by_pybreaker(url: str, prefix: str) -> Callable[[float], int]:
    """Return the same for pybreaker on Redis."""
    call = guard_by_pybreaker(Rules(f"{prefix}-fleet", NEVER, url))(succeed)
    call()
    return lambda seconds: _call_for(seconds, call)


def _call_for(seconds: float, call: Callable[[], Any]) -> int:
    calls, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in repeat(None, _CHUNK):
            call()
        calls += _CHUNK
    return calls


def watch_circuit(url: str, prefix: str, service: str) -> Callable[[str], float]:
    """Return what carries out the orders of a worker; each answers with a monotonic time.

    Orders: "trip" makes the failing call that opens the circuit, and answers when it returned;
    "watch" calls with pauses until a call is rejected; "wait" until one is let through; "close"
    resets the circuit.
    """
    use_server(url, prefix)
    breaker = make_breaker(service, threshold=1)
    orders = {
        "trip": lambda: _trip(breaker),
        "watch": lambda: _call_until(breaker, rejected=True),
        "wait": lambda: _call_until(breaker, rejected=False),
        "close": breaker.reset,
    }

    def carry_out(order: str) -> float:
        orders[order]()
        return time.monotonic()

    return carry_out


def _trip(breaker: CircuitBreaker) -> None:
    try:
        breaker.call(fail)
    except ValueError:
        return


def _call_until(breaker: CircuitBreaker, *, rejected: bool) -> None:
    """Call with pauses until the circuit does as it is waited for.

    Raises:
        TimeoutError: It does not in time.
    """
    guarded = breaker.decorate(succeed)
    end = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < end:
        try:
            guarded()
        except CircuitBreakerOpenError:
            if rejected:
                return
        else:
            if not rejected:
                return
        time.sleep(_PAUSE)
    raise TimeoutError(f"the circuit did not change in {_LONGEST_SECONDS:g} s")
