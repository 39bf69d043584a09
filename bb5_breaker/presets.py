"""Ready-made configurations."""

from __future__ import annotations

from bb5_breaker.config import CircuitBreakerConfig

__all__ = ["CircuitBreakerPresets"]

_MODEL_AGENTS = frozenset({"llm", "ai", "researcher", "writer"})
_IO_AGENTS = frozenset({"file", "database", "api"})


class CircuitBreakerPresets:
    """Predefined configurations; each method returns a :class:`CircuitBreakerConfig`."""

    @staticmethod
    def default() -> CircuitBreakerConfig:
        """Return the balanced defaults."""
        return CircuitBreakerConfig()

    @staticmethod
    def strict() -> CircuitBreakerConfig:
        """Return rules that open early and wait long."""
        return CircuitBreakerConfig(
            failure_threshold=3, timeout_seconds=120.0, success_threshold=3, call_timeout=10.0
        )

    @staticmethod
    def lenient() -> CircuitBreakerConfig:
        """Return rules that tolerate more failures and recover soon."""
        return CircuitBreakerConfig(
            failure_threshold=10, timeout_seconds=30.0, success_threshold=1, call_timeout=60.0
        )

    @staticmethod
    def fast_recovery() -> CircuitBreakerConfig:
        """Return rules that attempt recovery after ten seconds and close on one success."""
        return CircuitBreakerConfig(
            failure_threshold=5, timeout_seconds=10.0, success_threshold=1, call_timeout=30.0
        )

    @staticmethod
    def for_agent(agent_type: str | None = None) -> CircuitBreakerConfig:
        """Return rules for a kind of agent.

        Args:
            agent_type: "llm", "ai", "researcher" or "writer" for language models; "file",
                "database" or "api" for input and output; anything else, or None, gives
                :meth:`default`.

        Returns:
            The configuration.
        """
        if agent_type in _MODEL_AGENTS:
            return CircuitBreakerConfig(
                failure_threshold=3, timeout_seconds=90.0, success_threshold=2, call_timeout=120.0
            )
        if agent_type in _IO_AGENTS:
            return CircuitBreakerConfig(
                failure_threshold=5, timeout_seconds=30.0, success_threshold=2, call_timeout=15.0
            )
        return CircuitBreakerPresets.default()
