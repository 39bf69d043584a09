"""Events as they are printed while they come, one line each: text or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bb5_breaker.cli.notes import note
from bb5_breaker.cli.text import format_moment
from bb5_breaker.events import CircuitEvent, Event

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["EventPrinter", "choose_printer"]

EventPrinter = Callable[[Event], None]


def choose_printer(*, as_json: bool) -> EventPrinter:
    """Return what prints one event, at once, in the form that was asked for."""
    return _print_json if as_json else _text_printer()


def _print_json(event: Event) -> None:
    try:
        line = json.dumps(event.to_dict(), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        # Anybody may publish, and msgpack takes more than JSON does.
        note(f"an event from {event.metadata.source!r} can not be told in JSON: {error}")
        return
    print(line, flush=True)


def _text_printer() -> EventPrinter:
    from bb5_breaker.cli.console import make_console

    console = make_console()
    return lambda event: console.print(_line_of(event), soft_wrap=True)


def _line_of(event: Event) -> Text:
    return _transition(event) if isinstance(event, CircuitEvent) else _missed(event)


def _transition(event: CircuitEvent) -> Text:
    from bb5_breaker.cli.console import plain, state_text

    count = event.failure_count
    line = plain(f"{format_moment(event.metadata.timestamp)}  ")
    line.append_text(plain(event.service, "bold"))
    line.append("  ")
    line.append_text(state_text(_text(event.data, "previous_state")))
    line.append(" -> ")
    line.append_text(state_text(event.state.value))
    line.append_text(plain(f"  {count} {'failure' if count == 1 else 'failures'}"))
    line.append_text(plain(f"  {_text(event.data, 'reason')}"))
    line.append_text(plain(f"  by {_text(event.data, 'changed_by')}  "))
    line.append_text(plain(event.metadata.event_id, "dim"))
    return line


def _missed(event: Event) -> Text:
    from bb5_breaker.cli.console import plain

    data = event.data
    count = data.get("missed")
    number = count if isinstance(count, int) else "?"
    service = data["service"] if isinstance(data.get("service"), str) else "several circuits"
    moment = format_moment(event.metadata.timestamp)
    told = f"{moment}  {service}  warning: {number} missed: {_text(data, 'reason')}"
    return plain(told, "bold yellow")


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) and value else "?"
