"""What a bus takes from its own settings, and what from those of the process."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bb5_breaker._bus.bus_config import EventBusConfig
from bb5_breaker._store.opening import Target
from bb5_breaker.configuration import Settings, current_settings

__all__ = ["Terms"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What is in force for one session.

    Args:
        target: A client or a URL; None for the default place.
        prefix: Beginning of the channels of circuits.
        event_format: Wire form of what is published.
        settings: Those of the process, with the prefix and form of this bus.
    """

    target: Target
    prefix: str
    event_format: str
    settings: Settings

    @staticmethod
    def now(config: EventBusConfig) -> Terms:
        """Return the terms of a bus by what :func:`~bb5_breaker.configure` says now."""
        settings = current_settings()
        settings = replace(
            settings,
            prefix=config.prefix or settings.prefix,
            event_format=config.event_format or settings.event_format,
        )
        return Terms(
            target=config.target if config.target is not None else settings.target,
            prefix=settings.prefix,
            event_format=settings.event_format,
            settings=settings,
        )
