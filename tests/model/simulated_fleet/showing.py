"""Lines of the account of a history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bb5_breaker._core.commands import Admit, CountRejections, Extend, Record, Settle
from bb5_breaker._core.replies import CircuitView

if TYPE_CHECKING:
    from .network import Request

__all__ = ["show", "show_view"]


def show(request: Request) -> str:
    """Return a request in short."""
    command = request.command
    head = f"{type(command).__name__} {request.sender}#{request.sequence}"
    match command:
        case Record():
            runs = "+".join(f"{run.count}{run.outcome.value[0]}" for run in command.runs)
            return f"{head} {command.generation}:{command.epoch} {runs} age {command.age_ms}"
        case Settle():
            return f"{head} {command.generation}:{command.epoch} {command.outcome.value}"
        case Admit() | Extend():
            return f"{head} {command.token}"
        case CountRejections():
            return f"{head} {command.count} of {command.epoch}"
        case _:
            return head


def show_view(told: CircuitView) -> str:
    """Return an answer in short."""
    moved = f" from {told.moved_from.value}" if told.moved_from is not None else ""
    return (
        f"{told.verdict.value}: {told.state.value}{moved} {told.generation}:{told.epoch}"
        f" until {told.until_ms and told.until_ms - told.now_ms} failures {told.failures}"
    )
