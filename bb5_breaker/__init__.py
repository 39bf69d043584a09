"""A circuit breaker for a fleet: one circuit per service, its state in Redis."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from bb5_breaker._store.importing import IMPORTING
from bb5_breaker.breaker import CircuitBreaker
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.configuration import Settings, configure
from bb5_breaker.events import (
    MAX_PAYLOAD,
    CircuitEvent,
    Event,
    EventMetadata,
    EventType,
    Topics,
    decode_event,
    encode_event,
)
from bb5_breaker.exceptions import (
    BlackBoxError,
    CircuitBreakerOpenError,
    EmbeddedServerError,
    EventBusError,
    RedisConnectionError,
    RedisPubSubError,
    StoreDataError,
    StoreError,
    StorePermissionError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreVersionError,
)
from bb5_breaker.result import CallResult
from bb5_breaker.state import CircuitState
from bb5_breaker.stats import CircuitBreakerStats
from bb5_breaker.store_status import StoreState, StoreStatus

if TYPE_CHECKING:
    from bb5_breaker.event_bus import (
        BusState,
        BusStats,
        EventBusConfig,
        GroupConsumer,
        GroupStats,
        Listener,
        RedisEventBus,
        get_event_bus,
        shutdown_event_bus,
    )
    from bb5_breaker.manager import (
        CircuitBreakerManager,
        for_agent,
        get_circuit_breaker_manager,
        protect,
    )
    from bb5_breaker.presets import CircuitBreakerPresets

__version__ = "0.1.0"

__all__ = [
    "MAX_PAYLOAD",
    "BlackBoxError",
    "BusState",
    "BusStats",
    "CallResult",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerManager",
    "CircuitBreakerOpenError",
    "CircuitBreakerPresets",
    "CircuitBreakerStats",
    "CircuitEvent",
    "CircuitState",
    "EmbeddedServerError",
    "Event",
    "EventBusConfig",
    "EventBusError",
    "EventMetadata",
    "EventType",
    "GroupConsumer",
    "GroupStats",
    "Listener",
    "RedisConnectionError",
    "RedisEventBus",
    "RedisPubSubError",
    "Settings",
    "StoreDataError",
    "StoreError",
    "StorePermissionError",
    "StoreRefusedError",
    "StoreState",
    "StoreStatus",
    "StoreUnavailableError",
    "StoreVersionError",
    "Topics",
    "configure",
    "decode_event",
    "encode_event",
    "for_agent",
    "get_circuit_breaker_manager",
    "get_event_bus",
    "protect",
    "shutdown_event_bus",
]

# What a first breaker does without, by the module that has it.
_LATER: Final = {
    "BusState": "event_bus",
    "BusStats": "event_bus",
    "CircuitBreakerManager": "manager",
    "CircuitBreakerPresets": "presets",
    "EventBusConfig": "event_bus",
    "GroupConsumer": "event_bus",
    "GroupStats": "event_bus",
    "Listener": "event_bus",
    "RedisEventBus": "event_bus",
    "for_agent": "manager",
    "get_circuit_breaker_manager": "manager",
    "get_event_bus": "event_bus",
    "protect": "manager",
    "shutdown_event_bus": "event_bus",
}

if not TYPE_CHECKING:  # else every misspelt name would have a type

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with IMPORTING:
            value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
