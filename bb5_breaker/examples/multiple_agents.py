"""Example 8: a chain of agents, of which one is down."""

from __future__ import annotations

from collections.abc import Callable

from bb5_breaker import CircuitBreakerConfig, CircuitBreakerManager, CircuitBreakerOpenError
from bb5_breaker.examples.stage import check, forgetting, say, unique_name

__all__ = ["multiple_agents"]

Agent = Callable[[str], str]


def multiple_agents() -> None:
    """Every agent has a circuit of its own: the others go on while one is left out."""
    manager = CircuitBreakerManager()
    rules = CircuitBreakerConfig(failure_threshold=1)
    agents: dict[str, Agent] = {
        unique_name("agent.researcher"): _research,
        unique_name("agent.writer"): _write,
        unique_name("agent.reviewer"): _review,
    }
    researcher, writer, reviewer = (manager.get_breaker(name, rules) for name in agents)
    with forgetting(researcher, writer, reviewer):
        _run_chain(manager, agents, "fuses")
        check(writer.is_open, "the writer's failure opened the writer's circuit")
        check(researcher.is_closed and reviewer.is_closed, "the others are closed")

        result = _run_chain(manager, agents, "relays")
        check(result == "relays, researched, reviewed", "the next task passes the writer by")
        again = manager.get_breaker(writer.service_id)
        check(again is writer, "a manager makes one breaker for a service")


def _run_chain(manager: CircuitBreakerManager, agents: dict[str, Agent], task: str) -> str:
    for service_id, agent in agents.items():
        try:
            task = manager.get_breaker(service_id).call(agent, task)
        except CircuitBreakerOpenError:
            say(f"{service_id} is left out: its circuit is open")
        except ConnectionError as error:
            say(f"{service_id} failed: {error}")
    return task


def _research(task: str) -> str:
    return f"{task}, researched"


def _write(task: str) -> str:
    raise ConnectionError("out of ink")


def _review(task: str) -> str:
    return f"{task}, reviewed"
