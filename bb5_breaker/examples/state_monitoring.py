"""Example 4: looking at circuits, one and all."""

from __future__ import annotations

from bb5_breaker import CircuitBreakerConfig, CircuitBreakerManager
from bb5_breaker.examples.stage import check, forgetting, say, unique_name

__all__ = ["state_monitoring"]


def state_monitoring() -> None:
    """Figures are of the whole fleet: every process that asks sees the same."""
    manager = CircuitBreakerManager()
    rules = CircuitBreakerConfig(failure_threshold=2)
    catalogue = manager.get_breaker(unique_name("catalogue"), rules)
    mail = manager.get_breaker(unique_name("mail"), rules)
    with forgetting(catalogue, mail):
        for work in (_succeed, _succeed, _succeed, _fail):
            catalogue.call_result(work)
        for work in (_fail, _fail, _succeed):
            mail.call_result(work)

        stats = catalogue.get_stats()
        say(f"{stats['total_calls']} calls, failure rate {stats['failure_rate']:.0%}")
        check(stats["current_state"] == "closed", "one failure in four leaves a circuit closed")
        check(stats["failure_rate"] == 0.25, "its failure rate is a quarter")

        say(f"mail opened at {mail.stats.opened_at} and rejected {mail.stats.rejection_count}")
        check(mail.stats.rejection_count == 1, "a refused call counts as a rejection, not a call")
        check(mail.stats.total_calls == 2, "so the total is two")

        seen = manager.get_all_stats()
        check({catalogue.service_id, mail.service_id} <= set(seen), "the manager lists both")
        # Other circuits of the fleet may be open at this moment, so look for ours.
        opened = manager.get_open_circuits()
        check(mail.service_id in opened, "the open one is among the open circuits")
        check(catalogue.service_id not in opened, "and the closed one is not")


def _succeed() -> str:
    return "done"


def _fail() -> None:
    raise ConnectionError("connection refused")
