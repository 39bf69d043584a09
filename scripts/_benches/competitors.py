"""The other breakers for Python that ours is compared with, and whether they are here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from .guards import (
    Guard,
    guard_by_aiobreaker,
    guard_by_asyncbreaker,
    guard_by_circuitbreaker,
    guard_by_interlock,
    guard_by_interlock_shared,
    guard_by_interlock_shared_async,
    guard_by_purgatory,
    guard_by_purgatory_async,
    guard_by_pybreaker,
    guard_by_pyresilience,
)

__all__ = ["COMPETITORS", "Competitor", "installed", "tell_missing"]


@dataclass(frozen=True, slots=True)
class Competitor:
    """A library, with the guards that it has; None where it has none.

    Args:
        package: What pip calls it.
        module: What import calls it.
        rejection: Module and name of the error of a rejected call.
        local: Guards functions, state in the process.
        shared: Guards functions, state in Redis.
        local_async: Guards coroutine functions, state in the process.
        shared_async: Guards coroutine functions, state in Redis.
    """

    package: str
    module: str
    rejection: tuple[str, str]
    local: Guard | None = None
    shared: Guard | None = None
    local_async: Guard | None = None
    shared_async: Guard | None = None

    @property
    def error(self) -> type[BaseException]:
        """The error of a rejected call."""
        module, name = self.rejection
        error: type[BaseException] = getattr(import_module(module), name)
        return error


COMPETITORS = (
    Competitor(
        "pybreaker",
        "pybreaker",
        ("pybreaker", "CircuitBreakerError"),
        local=guard_by_pybreaker,
        shared=guard_by_pybreaker,
    ),
    Competitor(
        "circuitbreaker",
        "circuitbreaker",
        ("circuitbreaker", "CircuitBreakerError"),
        local=guard_by_circuitbreaker,
        local_async=guard_by_circuitbreaker,
    ),
    # Its blocking unit of work makes an asyncio client, and so can not work (3.0.1).
    Competitor(
        "purgatory",
        "purgatory",
        ("purgatory.domain.model", "OpenedState"),
        local=guard_by_purgatory,
        local_async=guard_by_purgatory_async,
        shared_async=guard_by_purgatory_async,
    ),
    Competitor(
        "aiobreaker",
        "aiobreaker",
        ("aiobreaker", "CircuitBreakerError"),
        local=guard_by_aiobreaker,
        shared=guard_by_aiobreaker,
        local_async=guard_by_aiobreaker,
        shared_async=guard_by_aiobreaker,
    ),
    Competitor(
        "asyncbreaker",
        "asyncbreaker",
        ("asyncbreaker", "CircuitError"),
        local_async=guard_by_asyncbreaker,
        shared_async=guard_by_asyncbreaker,
    ),
    Competitor(
        "interlock-cb",
        "interlock",
        ("interlock", "CircuitOpenError"),
        local=guard_by_interlock,
        shared=guard_by_interlock_shared,
        local_async=guard_by_interlock,
        shared_async=guard_by_interlock_shared_async,
    ),
    Competitor(
        "pyresilience",
        "pyresilience",
        ("pyresilience", "CircuitOpenError"),
        local=guard_by_pyresilience,
        local_async=guard_by_pyresilience,
    ),
)


def installed() -> list[Competitor]:
    """Return the libraries that are installed here."""
    return [each for each in COMPETITORS if find_spec(each.module) is not None]


def tell_missing() -> list[str]:
    """Return what to tell of the libraries that are not installed here."""
    packages = [each.package for each in COMPETITORS if find_spec(each.module) is None]
    told = ["c-breaker is not compared: PyPI has no package of that name any more."]
    if packages:
        told.insert(0, f"Not installed, so not compared: pip install {' '.join(packages)}")
    return told
