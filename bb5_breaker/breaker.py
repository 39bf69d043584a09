"""The circuit breaker that users hold."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from bb5_breaker._shell.announcing import Publisher
from bb5_breaker._shell.blocks import ProtectedBlock
from bb5_breaker._shell.callables import check_callable
from bb5_breaker._shell.guard import Guard, run_admitted
from bb5_breaker._shell.handle import CircuitHandle
from bb5_breaker._store.forks import ForkSafeLock
from bb5_breaker._store.opening import Target
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.exceptions import CircuitBreakerOpenError
from bb5_breaker.result import CallResult

__all__ = ["CircuitBreaker"]

P = ParamSpec("P")
T = TypeVar("T")


class CircuitBreaker(CircuitHandle):
    """Guards calls of one service; all processes that name it share one circuit.

    Making one costs no network. Thread-safe; no lock is held while a call runs. It may be made
    before a fork and used in the child.

    Args:
        service_id: Name of the service, 1 to 200 characters without white space, braces, control
            or glob characters.
        config: Rules of the circuit; None gives the defaults.
        event_bus: Where transitions made by this process are published as well; anything with
            ``publish(topic, event)``. On Redis the scripts publish every transition anyway, so a
            ``RedisEventBus`` is not told twice. None for none.
        redis: A ``redis.Redis`` or a URL for this breaker; None takes
            :func:`~bb5_breaker.configure`'s, else ``BB5_REDIS_URL``, else the embedded server.

    Raises:
        ValueError: The service id or the URL is malformed.
        TypeError: ``config``, ``event_bus`` or ``redis`` is of the wrong kind.
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
    ) -> None:
        super().__init__(service_id, config, event_bus, redis)
        self._guard = Guard(self._circuit, self._config, self._announcer)
        with self._registry_lock.lock:
            self._registry[service_id] = self

    def call(self, func: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run a function when the circuit lets it, and report how it ended.

        With a ``call_timeout`` the function runs on a thread of a pool, seeing the caller's
        context variables but not its thread-local data; without one on the caller's thread.

        Args:
            func: A plain function; coroutine and generator functions are refused.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            What the function returned.

        Raises:
            CircuitBreakerOpenError: The circuit did not let it run.
            TimeoutError: It took longer than ``call_timeout``; that counts as a failure.
            TypeError: ``func`` can not be guarded.
            BaseException: What the function raised, unchanged.
        """
        check_callable(func)
        return self._run(func, args, kwargs)

    def call_result(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> CallResult:
        """Run a function as :meth:`call` does and tell what became of it.

        Args:
            func: A plain function.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            The result; its ``exception`` is the function's error, or the rejection.

        Raises:
            TypeError: ``func`` can not be guarded.
            BaseException: What says nothing about the call: interrupts and exits.
        """
        check_callable(func)
        link = self._link()
        try:
            permit = self._guard.admit(link)
        except CircuitBreakerOpenError as rejection:
            return CallResult(
                False, exception=rejection, was_rejected=True, state_at_call=rejection.state
            )
        begun = time.perf_counter()
        error: Exception | None = None
        value: Any = None
        try:
            value = run_admitted(self._guard, link, permit, func, args, kwargs)
        except Exception as raised:
            error = raised
        return CallResult(
            error is None,
            exception=error,
            duration_seconds=time.perf_counter() - begun,
            state_at_call=permit.state,
            value=value,
        )

    def protect(self) -> ProtectedBlock:
        """Return a context manager that guards one ``with`` block.

        ``call_timeout`` does not apply: a block can not be stopped from outside. Entering raises
        :class:`CircuitBreakerOpenError` when the circuit does not let the block run.
        """
        return ProtectedBlock(self._guard, self._link())

    def decorate(self, func: Callable[P, T]) -> Callable[P, T]:
        """Return a function that runs ``func`` as :meth:`call` does.

        Args:
            func: A plain function; coroutine and generator functions are refused.

        Returns:
            The guarded function; its attribute ``circuit_breaker`` is this breaker.

        Raises:
            TypeError: ``func`` can not be guarded.
        """
        check_callable(func)

        @functools.wraps(func)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            return self._run(func, args, kwargs)

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

    def _run(self, func: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        link = self._link()
        return run_admitted(self._guard, link, self._guard.admit(link), func, args, kwargs)
