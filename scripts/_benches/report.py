"""What a bench found: ratios with their bars first, then the figures they come from."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Bar", "Report", "at_least", "at_most", "exactly"]

_HOLDS = {
    "<=": lambda value, limit: value <= limit,
    ">=": lambda value, limit: value >= limit,
    "==": lambda value, limit: value == limit,
}


@dataclass(frozen=True, slots=True)
class Bar:
    """What a ratio has to keep to."""

    rule: str
    limit: float

    def holds(self, value: float) -> bool:
        """Return True when the value keeps to it."""
        return bool(_HOLDS[self.rule](value, self.limit))

    def __str__(self) -> str:
        return f"{self.rule} {self.limit:g}"


def at_most(limit: float) -> Bar:
    """Return a bar that must not be exceeded."""
    return Bar("<=", limit)


def at_least(limit: float) -> Bar:
    """Return a bar that must be reached."""
    return Bar(">=", limit)


def exactly(limit: float) -> Bar:
    """Return a bar for what has to come out even."""
    return Bar("==", limit)


@dataclass
class Report:
    """Collects what a bench found.

    Args:
        bars: By the name of a ratio its bar; a ratio without one is only told.
    """

    bars: Mapping[str, Bar]
    ratios: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_ratio(self, name: str, value: float | None) -> None:
        """Add a ratio; None when it could not be measured here."""
        if value is not None:
            self.ratios[name] = float(f"{value:.4g}")

    @property
    def missed(self) -> list[str]:
        """The ratios that do not keep to their bars."""
        return [
            name
            for name, value in self.ratios.items()
            if name in self.bars and not self.bars[name].holds(value)
        ]

    @property
    def unmeasured(self) -> list[str]:
        """The bars whose ratios could not be measured."""
        return [name for name in self.bars if name not in self.ratios]

    def print(self, as_json: bool) -> int:
        """Print the report and return the exit code: 1 when a bar is missed."""
        print(self._json() if as_json else self._text())
        return int(bool(self.missed))

    def _json(self) -> str:
        ratios = {
            name: {
                "value": value,
                "bar": str(self.bars[name]) if name in self.bars else None,
                "met": self.bars[name].holds(value) if name in self.bars else None,
            }
            for name, value in self.ratios.items()
        }
        document = {
            "ratios": ratios,
            "figures": self.figures,
            "unmeasured": self.unmeasured,
            "notes": self.notes,
            "machine": _machine(),
        }
        return json.dumps(document, indent=2)

    def _text(self) -> str:
        width = max(map(len, [*self.ratios, *self.unmeasured]), default=0)
        lines = [self._line(name, width) for name in self.ratios]
        lines += [f"{name:{width}}  not measured ({self.bars[name]})" for name in self.unmeasured]
        for title, figures in self.figures.items():
            lines += ["", title, *_figure_lines(figures)]
        lines += ["", *self.notes, ", ".join(f"{k} {v}" for k, v in _machine().items())]
        return "\n".join(lines)

    def _line(self, name: str, width: int) -> str:
        value = f"{name:{width}}  {self.ratios[name]:>10g}"
        if name not in self.bars:
            return value
        told = "" if name not in self.missed else "  MISSED"
        return f"{value}  (bar {self.bars[name]}){told}"


def _figure_lines(figures: Any) -> list[str]:
    if not isinstance(figures, Mapping):
        return [f"  {figures}"]
    width = max(map(len, figures), default=0)
    return [f"  {name:{width}}  {_figure(value)}" for name, value in figures.items()]


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {_figure(each)}" for name, each in value.items())
    return f"{value:>12,}" if isinstance(value, int | float) else str(value)


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
