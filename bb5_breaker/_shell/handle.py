"""One circuit as a process sees it: where it lives, how it stands, and orders to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bb5_breaker._core.commands import Clear, Command, Forget, Look, Promote, Reset, Snapshot
from bb5_breaker._core.policy import Circuit
from bb5_breaker._shell.announcing import Announcer, Publisher, check_publisher
from bb5_breaker._shell.aside import ask_aside
from bb5_breaker._shell.consistency import Consistency
from bb5_breaker._shell.deadlines import call_pool
from bb5_breaker._shell.figures import stats_of
from bb5_breaker._shell.guard import Guard
from bb5_breaker._shell.history import read_events
from bb5_breaker._shell.link import Link
from bb5_breaker._shell.opening import LinkOpener
from bb5_breaker._shell.stakes import Check, Stake
from bb5_breaker._shell.store_failure import OnStoreFailure
from bb5_breaker._store.importing import IMPORTING
from bb5_breaker._store.opening import Target
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.events import CircuitEvent
from bb5_breaker.service_id import check_service_id
from bb5_breaker.state import CircuitState
from bb5_breaker.stats import CircuitBreakerStats
from bb5_breaker.store_status import StoreStatus

__all__ = ["CircuitHandle"]


class CircuitHandle:
    """Everything about a circuit but its calls; see :class:`~bb5_breaker.CircuitBreaker`."""

    def __init__(
        self,
        service_id: str,
        config: CircuitBreakerConfig | None,
        event_bus: Publisher | None,
        redis: Target,
        consistency: str | None,
        health_check: Callable[[], object] | None,
        on_store_failure: str | None,
    ) -> None:
        self._service_id = check_service_id(service_id)
        given: object = config
        if given is not None and not isinstance(given, CircuitBreakerConfig):
            raise TypeError(f"config must be a CircuitBreakerConfig, got {type(given).__name__}")
        self._config = config if config is not None else CircuitBreakerConfig()
        self._circuit = Circuit.of(service_id, self._config)
        self._announcer = Announcer(service_id)
        self.event_bus = event_bus
        self._health_check = health_check
        self._on_failure = (
            None if on_store_failure is None else OnStoreFailure.named(on_store_failure)
        )
        named = None if consistency is None else Consistency.named(consistency)
        check = None if health_check is None else self._make_check(health_check, redis)
        self._opener = LinkOpener(redis, Stake(self._circuit, self._announcer, check))
        self._guard = self._make_guard(self._opener, named)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._service_id!r})"

    @property
    def service_id(self) -> str:
        """Name of the service."""
        return self._service_id

    @property
    def config(self) -> CircuitBreakerConfig:
        """Rules of the circuit."""
        return self._config

    @property
    def health_check(self) -> Callable[[], object] | None:
        """What is asked whether the service is well, while the circuit is half-open."""
        return self._health_check

    @property
    def event_bus(self) -> Publisher | None:
        """Where transitions made by this process are published; may be assigned."""
        return self._announcer.bus

    @event_bus.setter
    def event_bus(self, bus: Publisher | None) -> None:
        check_publisher(bus)
        self._announcer.bus = bus

    def flush(self) -> None:
        """Report the calls of this process that are not reported yet, and wait until they are.

        They are reported in the background all the time, see ``flush_interval`` of
        :func:`~bb5_breaker.configure`, and at an orderly exit.

        Raises:
            StoreError: The store can not be reached; they are kept for later.
        """
        self._guard.flush()

    async def flush_async(self) -> None:
        """As :meth:`flush`, without blocking the event loop."""
        await ask_aside(self.flush)

    def reset(self) -> None:
        """Close the circuit for the whole fleet and forget its current failures.

        Lifetime totals stay. Calls that were admitted before do not count afterwards.

        Raises:
            StoreError: The store could not do it.
        """
        self._order(Reset(self._circuit))

    def forget(self) -> None:
        """Delete the circuit from the store, also when its keys are damaged.

        Raises:
            StoreError: The store could not do it.
        """
        link = self._link()
        link.order(Forget(self._circuit))
        link.store.drop_service(self._service_id)

    @property
    def stats(self) -> CircuitBreakerStats:
        """The fleet's figures of this circuit, read now.

        Raises:
            StoreError: The store could not be read.
        """
        self.flush()
        snapshot = self._link().read(Snapshot(self._circuit))
        return stats_of(snapshot, lambda: self._order(Clear(self._circuit)))

    def get_stats(self) -> dict[str, Any]:
        """Return the fleet's figures as a dict.

        Returns:
            ``CircuitBreakerStats.to_dict()`` with service_id, config (a dict),
            abandoned_calls (calls of this process that run on after their timeout), and
            store (``StoreStatus.to_dict()``).

        Raises:
            StoreError: The store could not be read.
        """
        return {
            **self.stats.to_dict(),
            "service_id": self._service_id,
            "config": self._config.to_dict(),
            "abandoned_calls": call_pool().abandoned,
            "store": self.store_status.to_dict(),
        }

    @property
    def store_status(self) -> StoreStatus:
        """How this process stands with the store of the circuit; asks nobody."""
        return self._link().status_of(self._service_id, self._guard.on_failure.value)

    def history(self, limit: int = 100, since: str | None = None) -> list[CircuitEvent]:
        """Return transitions of the circuit, in their order.

        Args:
            limit: How many at the most, 1 to 1,000,000.
            since: Id of an event, or "beginning", for those that follow; None for the latest.

        Returns:
            Events as the bus tells them. About ``history_limit`` are kept, for ``history_age``
            seconds at the most; see :func:`~bb5_breaker.configure`.

        Raises:
            ValueError: An argument is malformed.
            StoreError: The store could not be read, or keeps no history, being private.
        """
        return read_events(self._link().store, [self._service_id], limit, since)

    async def history_async(self, limit: int = 100, since: str | None = None) -> list[CircuitEvent]:
        """As :meth:`history`, without blocking the event loop."""
        return await ask_aside(lambda: self.history(limit, since))

    async def get_stats_async(self) -> dict[str, Any]:
        """As :meth:`get_stats`, without blocking the event loop."""
        return await ask_aside(self.get_stats)

    async def get_state_async(self) -> CircuitState:
        """As :attr:`state`, without blocking the event loop."""
        return await ask_aside(lambda: self.state)

    async def reset_async(self) -> None:
        """As :meth:`reset`, without blocking the event loop."""
        await ask_aside(self.reset)

    @property
    def state(self) -> CircuitState:
        """State of the circuit now; an open period that is over counts as half-open.

        While the store does not answer it is the state by which this process goes on.
        """
        link = self._link()
        told = link.view(Look(self._circuit))
        if told.state is CircuitState.OPEN and told.now_ms >= told.until_ms:
            told = link.view(Promote(self._circuit))
            self._announcer.tell(told)
        return told.state

    @property
    def is_closed(self) -> bool:
        """True when the circuit is closed."""
        return self.state is CircuitState.CLOSED

    @property
    def is_open(self) -> bool:
        """True when the circuit is open."""
        return self.state is CircuitState.OPEN

    @property
    def is_half_open(self) -> bool:
        """True when the circuit is half-open."""
        return self.state is CircuitState.HALF_OPEN

    def wait_until_closed(self, timeout: float | None = None) -> bool:
        """Wait until the circuit is closed. Thread-safe.

        It is woken by what is pushed, and asks the store when it begins and after the connection
        was lost. While the store is away it goes on waiting, and asks about once every
        ``store_retry_interval``.

        Args:
            timeout: Seconds, 0 to one year; None waits for ever.

        Returns:
            True when it is closed, at once if it is already; False when the time is up.

        Raises:
            ValueError: ``timeout`` is no number of seconds in these bounds.
        """
        with IMPORTING:
            from bb5_breaker._shell.waiting import check_timeout, wait_for_close
        seconds = check_timeout(timeout)
        return wait_for_close(self._link(), self._circuit, seconds)

    async def wait_until_closed_async(self, timeout: float | None = None) -> bool:
        """As :meth:`wait_until_closed`, for a task; any number of them take no thread."""
        with IMPORTING:
            from bb5_breaker._shell.waiting import check_timeout, wait_for_close_async
        seconds = check_timeout(timeout)
        return await wait_for_close_async(self._link, self._circuit, seconds)

    def _make_guard(self, opener: LinkOpener, consistency: Consistency | None) -> Guard:
        return Guard(
            self._circuit, self._config, self._announcer, opener, consistency, self._on_failure
        )

    def _make_check(self, health_check: Callable[[], object], redis: Target) -> Check:
        with IMPORTING:
            from bb5_breaker._shell.health import HealthCheck, check_health_check
        work = check_health_check(health_check)
        # An opener of its own: the other one holds the check.
        opener = LinkOpener(redis)
        return HealthCheck(work, self._make_guard(opener, Consistency.STRICT), opener).run

    def _link(self) -> Link:
        return self._opener.link()

    def _order(self, command: Command) -> None:
        self._announcer.tell(self._link().order(command))
