"""The circuit breaker that users hold."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Never, ParamSpec, TypeVar, overload
from weakref import WeakValueDictionary

from bb5_breaker._shell.announcing import Publisher
from bb5_breaker._shell.blocks import ProtectedBlock
from bb5_breaker._shell.callables import CallKind, kind_of
from bb5_breaker._shell.handle import CircuitHandle
from bb5_breaker._shell.results import tell_result
from bb5_breaker._shell.running import guard_plain
from bb5_breaker._shell.wrapping import guard_function, wrap
from bb5_breaker._store.forks import ForkSafeLock
from bb5_breaker._store.opening import Target
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.result import CallResult

__all__ = ["CircuitBreaker"]

P = ParamSpec("P")
T = TypeVar("T")


class CircuitBreaker(CircuitHandle):
    """Guards calls of one service; all processes that name it share one circuit.

    Making one costs no network. Thread-safe, and usable from any number of event loops, which it
    never blocks; no lock is held while a call runs. It may be made before a fork and used in the
    child.

    Args:
        service_id: Name of the service, 1 to 200 characters without white space, braces, control
            or glob characters.
        config: Rules of the circuit; None gives the defaults.
        event_bus: Where transitions made by this process are published as well; anything with
            ``publish(topic, event)``. On Redis the scripts publish every transition anyway, so a
            ``RedisEventBus`` is not told twice. None for none.
        redis: A ``redis.Redis``, a ``redis.RedisCluster`` or a URL for this breaker; None takes
            :func:`~bb5_breaker.configure`'s, else ``BB5_REDIS_URL``, else the embedded server.
        consistency: "cached" or "strict", see :func:`~bb5_breaker.configure`; None takes what is
            configured for the process.
        health_check: A plain function without arguments that asks the service and raises when it
            is not well; None for none. While the circuit is half-open, it is run as a probe, on
            a thread of its own and by one process of the fleet at a time, until it has closed
            or reopened the circuit; from the first use of the circuit in a process on, and for
            as long as this breaker lives. ``call_timeout`` applies; without one a check that
            hangs is not run again in this process.
        on_store_failure: "local", "open", "closed" or "raise", see
            :func:`~bb5_breaker.configure`; None takes what is configured for the process.

    Raises:
        ValueError: The service id, the URL, ``consistency`` or ``on_store_failure`` is malformed.
        TypeError: ``config``, ``event_bus``, ``redis`` or ``health_check`` is of the wrong kind.
    """

    _registry: ClassVar[WeakValueDictionary[str, CircuitBreaker]] = WeakValueDictionary()
    _registry_lock: ClassVar[ForkSafeLock] = ForkSafeLock()

    def __init__(
        self,
        service_id: str,
        config: CircuitBreakerConfig | None = None,
        event_bus: Publisher | None = None,
        *,
        redis: Target = None,
        consistency: str | None = None,
        health_check: Callable[[], object] | None = None,
        on_store_failure: str | None = None,
    ) -> None:
        super().__init__(
            service_id, config, event_bus, redis, consistency, health_check, on_store_failure
        )
        with self._registry_lock.lock:
            self._registry[service_id] = self

    def call(self, func: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run a function when the circuit lets it, and report how it ended.

        A coroutine function gives a coroutine to await, a generator function, async or not, a
        generator; the call begins with the first ``await`` or item and ends with the last. A
        generator that is closed early says nothing about the service.

        With a ``call_timeout`` a plain function runs on a thread of a pool, seeing the caller's
        context variables but not its thread-local data; without one on the caller's thread. A
        coroutine is cancelled when its time is up, and is late whatever it makes of that. An
        async generator has that time for all its items together, not counting its consumer's; a
        plain generator can not be timed.

        Args:
            func: What to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            What the function returned.

        Raises:
            CircuitBreakerOpenError: The circuit did not let it run.
            TimeoutError: It took longer than ``call_timeout``; that counts as a failure.
            TypeError: ``func`` can not be called.
            BaseException: What the function raised, unchanged.
        """
        if kind_of(func) is CallKind.PLAIN:
            return guard_plain(self._guard, func)(*args, **kwargs)
        return guard_function(self._guard, func)(*args, **kwargs)

    @overload
    def call_result(
        self, func: Callable[..., Never], /, *args: Any, **kwargs: Any
    ) -> CallResult: ...

    @overload
    def call_result(
        self, func: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, CallResult]: ...

    @overload
    def call_result(
        self, func: Callable[..., object], /, *args: Any, **kwargs: Any
    ) -> CallResult: ...

    def call_result(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function as :meth:`call` does and tell what became of it.

        Args:
            func: A plain or a coroutine function.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            A :class:`CallResult`, or for a coroutine function a coroutine of one; its
            ``exception`` is the function's error, or the rejection.

        Raises:
            TypeError: ``func`` can not be called, makes a generator, or is a plain function that
                returned a coroutine.
            BaseException: What says nothing about the call: interrupts and exits.
        """
        return tell_result(self._guard, func, args, kwargs)

    def protect(self) -> ProtectedBlock:
        """Return a context manager that guards one ``with`` or ``async with`` block.

        ``call_timeout`` does not apply: a block can not be stopped from outside. Entering raises
        :class:`CircuitBreakerOpenError` when the circuit does not let the block run.
        """
        return ProtectedBlock(self._guard)

    def decorate(self, func: Callable[P, T]) -> Callable[P, T]:
        """Return a function that runs ``func`` as :meth:`call` does.

        Args:
            func: A plain function, a coroutine function, or a generator function, async or not.

        Returns:
            The guarded function, of the same kind; its attribute ``circuit_breaker`` is this
            breaker.

        Raises:
            TypeError: ``func`` can not be called.
        """
        guarded = wrap(self._guard, func)
        guarded.circuit_breaker = self  # type: ignore[attr-defined]
        return guarded

    @classmethod
    def get(cls, service_id: str) -> CircuitBreaker | None:
        """Return the latest living breaker of this process for a service; None without one."""
        with cls._registry_lock.lock:
            return cls._registry.get(service_id)

    @classmethod
    def get_all(cls) -> dict[str, CircuitBreaker]:
        """Return the living breakers of this process by service id."""
        with cls._registry_lock.lock:
            return dict(cls._registry)

    @classmethod
    def reset_all(cls) -> None:
        """Reset the circuits of all living breakers of this process.

        Raises:
            StoreError: A store could not do it.
        """
        for breaker in cls.get_all().values():
            breaker.reset()
