"""Example 2: an agent, used by more than one worker."""

from __future__ import annotations

from bb5_breaker import CircuitBreakerOpenError, for_agent
from bb5_breaker.examples.stage import check, forgetting, say, unique_name

__all__ = ["agent_execution"]


class Researcher:
    """An agent whose language model can be out of order."""

    def __init__(self) -> None:
        self.model_answers = True

    def execute(self, task: str) -> str:
        """Carry out a task, or fail with the model."""
        if not self.model_answers:
            raise ConnectionError("the model does not answer")
        return f"notes on {task}"


def agent_execution() -> None:
    """What one worker learns about an agent, all workers know."""
    agent = Researcher()
    agent_id = unique_name("researcher")
    # Two workers; in real life two processes, perhaps on two machines.
    mine = for_agent(agent_id, agent_type="llm")
    theirs = for_agent(agent_id, agent_type="llm")
    with forgetting(mine):
        say(f"service id {mine.service_id}, opens after {mine.config.failure_threshold} failures")
        notes = mine.call(agent.execute, "circuit breakers")
        check(notes == "notes on circuit breakers", "the agent does its task")

        agent.model_answers = False
        for _ in range(mine.config.failure_threshold):
            outcome = mine.call_result(agent.execute, "fuses")
            check(outcome.failed, f"the task fails: {outcome.exception}")

        try:
            theirs.call(agent.execute, "relays")
            rejected = False
        except CircuitBreakerOpenError as rejection:
            say(f"the other worker is told: {rejection}")
            rejected = True
        check(rejected, "the other worker is refused without a failure of its own")
