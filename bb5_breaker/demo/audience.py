"""Who the demo is shown to: a terminal, a log, or a program."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from bb5_breaker._store.shell_commands import look_commands
from bb5_breaker.demo.records import seconds_between
from bb5_breaker.demo.report import print_report
from bb5_breaker.demo.result import DemoResult
from bb5_breaker.demo.rules import SERVICE
from bb5_breaker.demo.stage import Stage

__all__ = ["Audience", "LineAudience", "SilentAudience", "choose_audience", "hints"]


class Audience(Protocol):
    """Is shown a demo."""

    def seated(self) -> AbstractContextManager[object]:
        """Return a context in which the demo runs."""

    def watch(self, stage: Stage) -> None:
        """See how things are now; called many times a second."""

    def conclude(self, result: DemoResult) -> None:
        """See what it came to."""


class SilentAudience:
    """Sees nothing but the result, as one JSON document."""

    def seated(self) -> AbstractContextManager[object]:
        """Return a context without effect."""
        return nullcontext()

    def watch(self, stage: Stage) -> None:
        """Look away."""

    def conclude(self, result: DemoResult) -> None:
        """Print the document."""
        print(json.dumps(result.to_dict()))


class LineAudience:
    """Sees a line whenever something happens."""

    def __init__(self) -> None:
        self._marks = 0
        self._events = 0

    def seated(self) -> AbstractContextManager[object]:
        """Return a context without effect."""
        return nullcontext()

    def watch(self, stage: Stage) -> None:
        """Print what is new."""
        marks, events = stage.journal.marks, stage.journal.events
        if not marks:
            return
        if self._marks == 0:
            print("\n".join(hints(stage)))
        begun_ns = marks[0].at_ns
        news = [(mark.at_ns, mark.title) for mark in marks[self._marks :]]
        news += [
            (event.at_ns, f"  generation {event.generation}: {event.state} ({event.reason})")
            for event in events[self._events :]
        ]
        for at_ns, text in sorted(news):
            print(f"{seconds_between(begun_ns, at_ns):6.2f} s  {text}", flush=True)
        self._marks, self._events = len(marks), len(events)

    def conclude(self, result: DemoResult) -> None:
        """Print the report."""
        print_report(result)


def hints(stage: Stage) -> list[str]:
    """Return what to type into another terminal meanwhile."""
    return [
        "Meanwhile, in another terminal:",
        f"  bb5-breaker status --redis {stage.store.address}",
        *(f"  {line}" for line in look_commands(stage.store, SERVICE)),
    ]


def choose_audience(*, as_json: bool) -> Audience:
    """Return the audience that fits where the output goes."""
    if as_json:
        return SilentAudience()
    if not sys.stdout.isatty():
        return LineAudience()
    from bb5_breaker.demo.screen import LiveAudience

    return LiveAudience()
