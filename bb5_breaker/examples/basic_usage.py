"""Example 1: a breaker around a function call."""

from __future__ import annotations

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpenError
from bb5_breaker.examples.stage import check, forgetting, say, unique_name

__all__ = ["basic_usage"]


class PaymentService:
    """Stands for something remote that may be down."""

    def __init__(self) -> None:
        self.is_up = True
        self.requests = 0

    def charge(self, amount: int) -> str:
        """Charge an amount, or fail while the service is down."""
        self.requests += 1
        if not self.is_up:
            raise ConnectionError("payment service is down")
        return f"charged {amount}"


def basic_usage() -> None:
    """Calls pass while all is well; after three failures they are refused at once."""
    service = PaymentService()
    breaker = CircuitBreaker(
        service_id=unique_name("payments"),
        config=CircuitBreakerConfig(
            failure_threshold=3,  # open after three failures in a row
            timeout_seconds=60.0,  # and leave the service alone for a minute
            success_threshold=2,  # then two successes close the circuit again
        ),
    )
    with forgetting(breaker):
        check(breaker.call(service.charge, 20) == "charged 20", "a call returns its result")

        service.is_up = False
        for _ in range(3):
            _charge_or_explain(breaker, service)
        check(breaker.is_open, "three failures in a row open the circuit")

        answer = _charge_or_explain(breaker, service)
        check(answer == "please pay later", "while it is open a fallback answers")
        check(service.requests == 4, "and the service is not troubled")


def _charge_or_explain(breaker: CircuitBreaker, service: PaymentService) -> str:
    try:
        return breaker.call(service.charge, 20)
    except CircuitBreakerOpenError as rejection:
        say(f"rejected: {rejection}")
        return "please pay later"
    except ConnectionError as error:
        say(f"failed: {error}")
        return "an error page"
