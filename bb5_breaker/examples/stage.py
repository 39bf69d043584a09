"""What the examples share: names of their own, checks that are always made, and tidying up."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bb5_breaker import CircuitBreaker, CircuitState

__all__ = ["ExampleError", "await_state", "check", "forgetting", "say", "unique_name"]


class ExampleError(Exception):
    """An example did not show what it should."""


def say(text: str) -> None:
    """Print a line of an example."""
    print(f"   {text}")


def check(holds: bool, claim: str) -> None:
    """Print a claim when it holds.

    Args:
        holds: Whether it does.
        claim: What the example shows, in words.

    Raises:
        ExampleError: It does not hold.
    """
    if not holds:
        raise ExampleError(f"this should hold, and does not: {claim}")
    say(f"ok: {claim}")


def unique_name(name: str) -> str:
    """Return a name that no other run uses, so that each example has circuits of its own."""
    return f"{name}-{secrets.token_hex(4)}"


@contextmanager
def forgetting(*breakers: CircuitBreaker) -> Iterator[None]:
    """Delete the circuits of these breakers at the end of a ``with`` block.

    Your own program does not want this: a circuit stays, and expires when nobody uses it.

    Args:
        breakers: Breakers of circuits that only this example uses.
    """
    try:
        yield
    finally:
        for breaker in breakers:
            breaker.forget()


def await_state(breaker: CircuitBreaker, state: CircuitState, seconds: float = 10.0) -> None:
    """Return once a circuit is in a state.

    Args:
        breaker: Its breaker.
        state: The state to wait for.
        seconds: Longest time to wait.

    Raises:
        ExampleError: The time is up.
    """
    deadline = time.monotonic() + seconds
    while breaker.state is not state:
        if time.monotonic() > deadline:
            raise ExampleError(f"the circuit should be {state} by now, and is {breaker.state}")
        time.sleep(0.01)
