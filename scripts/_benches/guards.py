"""How other breakers for Python guard a function, each set up as its manual says.

No listeners. A circuit opens after ``threshold`` failures in a row and stays open for an hour.
Where a library takes a failure rate instead, a threshold of one means the first failure, and any
other means never: no bench that counts failures may trip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import redis
import redis.asyncio

__all__ = [
    "Decorator",
    "Guard",
    "Rules",
    "forget_circuits",
    "guard_by_aiobreaker",
    "guard_by_asyncbreaker",
    "guard_by_circuitbreaker",
    "guard_by_interlock",
    "guard_by_interlock_shared",
    "guard_by_interlock_shared_async",
    "guard_by_purgatory",
    "guard_by_purgatory_async",
    "guard_by_pybreaker",
    "guard_by_pyresilience",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_HOUR = 3600.0
# What ends that which goes on in the background for a circuit.
_endings: list[Callable[[], Any]] = []


@dataclass(frozen=True, slots=True)
class Rules:
    """A circuit to set up.

    Args:
        name: Name of the circuit, unique in the process and on the server.
        threshold: Failures in a row that open it.
        url: Server to share it through; empty for a circuit within the process.
    """

    name: str
    threshold: int
    url: str = ""


Guard = Callable[[Rules], Decorator]


def guard_by_pybreaker(rules: Rules) -> Decorator:
    """Guard by pybreaker, in the process or on Redis."""
    library: Any = import_module("pybreaker")
    storage = None
    if rules.url:
        client = redis.Redis.from_url(rules.url)
        storage = library.CircuitRedisStorage("closed", client, namespace=rules.name)
    breaker: Decorator = library.CircuitBreaker(
        fail_max=rules.threshold, reset_timeout=_HOUR, state_storage=storage
    )
    return breaker


def guard_by_circuitbreaker(rules: Rules) -> Decorator:
    """Guard by circuitbreaker, plain and coroutine functions alike."""
    library: Any = import_module("circuitbreaker")
    decorator: Decorator = library.circuit(
        failure_threshold=rules.threshold, recovery_timeout=int(_HOUR), name=rules.name
    )
    return decorator


def guard_by_purgatory(rules: Rules) -> Decorator:
    """Guard by purgatory in the process."""
    library: Any = import_module("purgatory")
    factory = library.SyncCircuitBreakerFactory(
        default_threshold=rules.threshold, default_ttl=_HOUR
    )
    decorator: Decorator = factory(rules.name)
    return decorator


def guard_by_purgatory_async(rules: Rules) -> Decorator:
    """Guard coroutine functions by purgatory, in the process or on Redis."""
    library: Any = import_module("purgatory")
    unit_of_work = library.AsyncRedisUnitOfWork(rules.url) if rules.url else None
    factory = library.AsyncCircuitBreakerFactory(
        default_threshold=rules.threshold, default_ttl=_HOUR, uow=unit_of_work
    )
    decorator: Decorator = factory(rules.name)
    return decorator


def guard_by_aiobreaker(rules: Rules) -> Decorator:
    """Guard by aiobreaker, plain and coroutine functions alike, in the process or on Redis."""
    library: Any = import_module("aiobreaker")
    storage = None
    if rules.url:
        # Its storage takes a blocking client, in an event loop too.
        storage = library.storage.CircuitRedisStorage(
            library.CircuitBreakerState.CLOSED,
            redis.Redis.from_url(rules.url),
            namespace=rules.name,
        )
    breaker: Decorator = library.CircuitBreaker(
        fail_max=rules.threshold,
        timeout_duration=timedelta(seconds=_HOUR),
        state_storage=storage,
    )
    return breaker


def guard_by_asyncbreaker(rules: Rules) -> Decorator:
    """Guard coroutine functions by asyncbreaker, in the process or on Redis."""
    library: Any = import_module("asyncbreaker")
    storage = None
    if rules.url:
        client = redis.asyncio.Redis.from_url(rules.url)
        storage = library.RedisStorage(redis=client, namespace=rules.name)
    breaker: Decorator = library.CircuitBreaker(
        fail_max=rules.threshold,
        timeout_duration=timedelta(seconds=_HOUR),
        state_storage=storage,
    )
    return breaker


def _interlock_with(rules: Rules, storage: Any) -> Any:
    library: Any = import_module("interlock")
    config = library.Config(minimum_number_of_calls=rules.threshold, wait_duration_in_open=_HOUR)
    return library.CircuitBreaker(name=rules.name, config=config, storage=storage)


def guard_by_interlock(rules: Rules) -> Decorator:
    """Guard by interlock-cb in the process, plain and coroutine functions alike."""
    breaker: Decorator = _interlock_with(rules, None)
    return breaker


def guard_by_interlock_shared(rules: Rules) -> Decorator:
    """Guard by interlock-cb on Redis."""
    backend: Any = import_module("interlock.integrations.redis")
    breaker = _interlock_with(rules, backend.RedisStorage(redis.Redis.from_url(rules.url)))
    _endings.append(breaker.close)
    decorator: Decorator = breaker
    return decorator


def guard_by_interlock_shared_async(rules: Rules) -> Decorator:
    """Guard coroutine functions by interlock-cb on Redis."""
    backend: Any = import_module("interlock.integrations.redis")
    client = redis.asyncio.Redis.from_url(rules.url)
    breaker = _interlock_with(rules, backend.AsyncRedisStorage(client))
    _endings.append(breaker.aclose)
    decorator: Decorator = breaker
    return decorator


def guard_by_pyresilience(rules: Rules) -> Decorator:
    """Guard by pyresilience, plain and coroutine functions alike."""
    library: Any = import_module("pyresilience")
    config = library.CircuitBreakerConfig(failure_threshold=rules.threshold, recovery_timeout=_HOUR)
    decorator: Decorator = library.resilient(circuit_breaker=config)
    return decorator


async def forget_circuits() -> None:
    """Have no library go on with circuits, nor hold on to them.

    interlock-cb polls Redis on a thread or in a task for each circuit until it is told to end.
    circuitbreaker keeps each circuit for as long as the process lives, with its last error,
    whose frames know all the contenders.
    """
    while _endings:
        ending = _endings.pop()()
        if ending is not None:
            await ending
    if find_spec("circuitbreaker") is not None:
        library: Any = import_module("circuitbreaker")
        library.CircuitBreakerMonitor.circuit_breakers.clear()
