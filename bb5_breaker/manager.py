"""Many breakers, and the circuits of the whole fleet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from bb5_breaker._core.commands import Command, Reset, Snapshot
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot, Reply
from bb5_breaker._shell.announcing import Publisher, check_publisher
from bb5_breaker._shell.aside import ask_aside
from bb5_breaker._shell.consistency import Consistency
from bb5_breaker._shell.figures import stats_of
from bb5_breaker._shell.history import read_events
from bb5_breaker._shell.opening import LinkOpener
from bb5_breaker._shell.store_failure import OnStoreFailure
from bb5_breaker._store.forks import ForkSafeLock
from bb5_breaker._store.interface import Store
from bb5_breaker._store.opening import Target
from bb5_breaker.breaker import CircuitBreaker
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.events import CircuitEvent
from bb5_breaker.exceptions import StoreError
from bb5_breaker.presets import CircuitBreakerPresets
from bb5_breaker.service_id import check_service_id
from bb5_breaker.state import CircuitState

__all__ = ["CircuitBreakerManager", "for_agent", "get_circuit_breaker_manager", "protect"]

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger("bb5_breaker")


class CircuitBreakerManager:
    """Makes breakers once each, and reads and resets the circuits of the fleet. Thread-safe.

    Args:
        event_bus: Given to the breakers that it makes; see :class:`CircuitBreaker`.
        redis: A client or a URL for its breakers; None as in :class:`CircuitBreaker`.
        consistency: Of its breakers, "cached" or "strict"; None as in :class:`CircuitBreaker`.
        on_store_failure: Of its breakers, likewise.

    Raises:
        ValueError: The URL, ``consistency`` or ``on_store_failure`` is malformed.
        TypeError: ``event_bus`` or ``redis`` is of the wrong kind.
    """

    def __init__(
        self,
        event_bus: Publisher | None = None,
        *,
        redis: Target = None,
        consistency: str | None = None,
        on_store_failure: str | None = None,
    ) -> None:
        check_publisher(event_bus)
        if consistency is not None:
            Consistency.named(consistency)
        if on_store_failure is not None:
            OnStoreFailure.named(on_store_failure)
        self._consistency = consistency
        self._on_store_failure = on_store_failure
        self.event_bus = event_bus
        self._target = redis
        self._opener = LinkOpener(redis)
        self._breakers: dict[str, CircuitBreaker] = {}
        self._lock = ForkSafeLock()
        # Commands that only name a service need rules as well; these are never used.
        self._any_rules = CircuitBreakerConfig()

    def get_breaker(
        self,
        service_id: str,
        config: CircuitBreakerConfig | None = None,
        agent_type: str | None = None,
        *,
        health_check: Callable[[], object] | None = None,
    ) -> CircuitBreaker:
        """Return the breaker of a service, made at the first call.

        Args:
            service_id: Name of the service.
            config: Its rules; None takes the preset of ``agent_type``. A later call with other
                rules changes nothing and logs a warning.
            agent_type: Kind of agent, see :meth:`CircuitBreakerPresets.for_agent`.
            health_check: See :class:`CircuitBreaker`; a later call with another one changes
                nothing and logs a warning.

        Returns:
            The breaker, the same for the same service id.

        Raises:
            ValueError: The service id is malformed.
            TypeError: ``config`` or ``health_check`` is of the wrong kind.
        """
        check_service_id(service_id)
        with self._lock.lock:
            breaker = self._breakers.get(service_id)
            if breaker is None:
                rules = config or CircuitBreakerPresets.for_agent(agent_type)
                breaker = CircuitBreaker(
                    service_id,
                    rules,
                    self.event_bus,
                    redis=self._target,
                    consistency=self._consistency,
                    health_check=health_check,
                    on_store_failure=self._on_store_failure,
                )
                self._breakers[service_id] = breaker
        if health_check is not None and health_check != breaker.health_check:
            _log.warning(
                "'%s' keeps the health check of its first get_breaker(); another was given",
                service_id,
            )
        if config is not None and config != breaker.config:
            _log.warning(
                "'%s' keeps the configuration of its first get_breaker(); another was given",
                service_id,
            )
        return breaker

    def remove_breaker(self, service_id: str) -> bool:
        """Let go of a breaker of this manager; the circuit stays in the store.

        Returns:
            True when there was one.
        """
        with self._lock.lock:
            return self._breakers.pop(service_id, None) is not None

    def get_all_stats(self) -> dict[str, dict[str, Any]]:
        """Return the figures of all circuits of the fleet and of this manager's breakers.

        A circuit that can not be read has the keys service_id and error instead of figures.

        Returns:
            By service id a dict as :meth:`CircuitBreaker.get_stats` gives; config is None for a
            circuit of which this manager has no breaker.

        Raises:
            StoreError: The store could not be read.
        """
        self.flush()
        return {
            service: self._describe(service, reply) for service, reply in self._snapshots().items()
        }

    async def get_all_stats_async(self) -> dict[str, dict[str, Any]]:
        """As :meth:`get_all_stats`, without blocking the event loop."""
        return await ask_aside(self.get_all_stats)

    def history(self, limit: int = 100, since: str | None = None) -> list[CircuitEvent]:
        """Return transitions of all circuits of the fleet, in the order of time.

        Args:
            limit: How many at the most, 1 to 1,000,000.
            since: As in :meth:`CircuitBreaker.history`. Those in the same millisecond as that
                event, of other circuits, are among them.

        Returns:
            Events as the bus tells them, those of each circuit in their own order.

        Raises:
            ValueError: An argument is malformed.
            StoreError: The store could not be read, or keeps no history, being private.
        """
        return read_events(self._store(), self._all_services(), limit, since)

    async def history_async(self, limit: int = 100, since: str | None = None) -> list[CircuitEvent]:
        """As :meth:`history`, without blocking the event loop."""
        return await ask_aside(lambda: self.history(limit, since))

    def get_open_circuits(self) -> list[str]:
        """Return the ids of the fleet's open circuits, sorted.

        Raises:
            StoreError: The store could not be read.
        """
        return self._services_in({CircuitState.OPEN})

    async def get_open_circuits_async(self) -> list[str]:
        """As :meth:`get_open_circuits`, without blocking the event loop."""
        return await ask_aside(self.get_open_circuits)

    def close_all_circuits(self) -> None:
        """Reset every circuit of the fleet that is open or half-open.

        Raises:
            StoreError: The store could not do it.
        """
        self._reset(self._services_in({CircuitState.OPEN, CircuitState.HALF_OPEN}))

    def reset_all(self) -> None:
        """Reset every circuit of the fleet.

        Raises:
            StoreError: The store could not do it.
        """
        self._reset(self._all_services())

    def flush(self) -> None:
        """Report the calls of this process that are not reported yet; see
        :meth:`CircuitBreaker.flush`.

        Raises:
            StoreError: The store can not be reached; they are kept for later.
        """
        self._opener.link().flusher.flush_all()

    def _all_services(self) -> list[str]:
        with self._lock.lock:
            own = set(self._breakers)
        return sorted(own.union(self._store().list_services()))

    def _snapshots(self) -> dict[str, Reply | StoreError]:
        services = self._all_services()
        replies = self._store().run_many(self._commands_for(services, Snapshot))
        with self._lock.lock:
            own = set(self._breakers)
        # Circuits that expired stay in the registry for a while.
        return {
            service: reply
            for service, reply in zip(services, replies, strict=True)
            if service in own or not isinstance(reply, CircuitSnapshot) or reply.exists
        }

    def _commands_for(
        self, services: list[str], command: Callable[[Circuit], Command]
    ) -> list[Command]:
        return [command(Circuit.of(service, self._any_rules)) for service in services]

    def _services_in(self, states: set[CircuitState]) -> list[str]:
        return [
            service
            for service, reply in self._snapshots().items()
            if isinstance(reply, CircuitSnapshot) and reply.effective_state in states
        ]

    def _reset(self, services: list[str]) -> None:
        self._opener.link().order_many(self._commands_for(services, Reset))

    def _describe(self, service: str, reply: Reply | StoreError) -> dict[str, Any]:
        with self._lock.lock:
            breaker = self._breakers.get(service)
        if not isinstance(reply, CircuitSnapshot):
            return {"service_id": service, "error": str(reply)}
        return {
            **stats_of(reply).to_dict(),
            "service_id": service,
            "config": None if breaker is None else breaker.config.to_dict(),
        }

    def _store(self) -> Store:
        return self._opener.link().store


_manager: CircuitBreakerManager | None = None
_manager_lock = ForkSafeLock()


def get_circuit_breaker_manager(event_bus: Publisher | None = None) -> CircuitBreakerManager:
    """Return the manager of this process.

    Args:
        event_bus: Given to it when it has none yet.
    """
    global _manager
    with _manager_lock.lock:
        if _manager is None:
            _manager = CircuitBreakerManager(event_bus)
        elif event_bus is not None and _manager.event_bus is None:
            check_publisher(event_bus)
            _manager.event_bus = event_bus
        return _manager


def protect(
    service_id: str,
    config: CircuitBreakerConfig | None = None,
    *,
    health_check: Callable[[], object] | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that guards a function.

    Args:
        service_id: Name of the service.
        config: Rules of the circuit; None gives the defaults.
        health_check: See :class:`CircuitBreaker`.

    Returns:
        The decorator; see :meth:`CircuitBreaker.decorate`.

    Raises:
        ValueError: The service id is malformed.
        TypeError: ``config`` or ``health_check`` is of the wrong kind.
    """
    return CircuitBreaker(service_id, config, health_check=health_check).decorate


def for_agent(agent_id: str, agent_type: str | None = None) -> CircuitBreaker:
    """Return a breaker for an agent, with the service id ``agent.<agent_id>``.

    Args:
        agent_id: Name of the agent, as in service ids.
        agent_type: Kind of agent, see :meth:`CircuitBreakerPresets.for_agent`.

    Returns:
        A new breaker; all share the agent's circuit.

    Raises:
        ValueError: The agent id is malformed.
    """
    if not isinstance(agent_id, str):
        raise ValueError(f"agent_id must be a str, got {type(agent_id).__name__}")
    service_id = check_service_id(f"agent.{agent_id}")
    return CircuitBreaker(service_id, CircuitBreakerPresets.for_agent(agent_type))
