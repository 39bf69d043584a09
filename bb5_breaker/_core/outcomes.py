"""Which errors count as failures of the service."""

from __future__ import annotations

from bb5_breaker._core.commands import Outcome

__all__ = ["classify_error", "name_error"]

_LONGEST_NAME = 100


def classify_error(error: BaseException, counted: tuple[type[Exception], ...]) -> Outcome:
    """Return FAILURE for an error of a counted class, NEUTRAL for any other.

    Interrupts, exits, closed generators and cancellations derive from BaseException only;
    they say nothing about the service and are never counted.
    """
    return Outcome.FAILURE if isinstance(error, counted) else Outcome.NEUTRAL


def name_error(error: BaseException) -> str:
    """Return the class name of an error, bounded: it is stored and shown, its text is not."""
    return type(error).__name__[:_LONGEST_NAME]
