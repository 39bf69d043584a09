"""The outcome of a demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bb5_breaker.demo.claims import Claim, check_claims
from bb5_breaker.demo.evidence import Evidence
from bb5_breaker.demo.figures import Figures, find_turns, work_out
from bb5_breaker.demo.records import seconds_between

__all__ = ["DemoResult"]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What was seen, and whether it is what the demo claims.

    Args:
        seen: Everything that was seen.
        figures: What it comes to.
        claims: What the demo shows.
    """

    seen: Evidence
    figures: Figures
    claims: Sequence[Claim]

    @staticmethod
    def of(seen: Evidence) -> DemoResult:
        """Return the result of what was seen."""
        turns = find_turns(seen)
        figures = work_out(seen, turns)
        return DemoResult(seen, figures, check_claims(seen, turns, figures))

    @property
    def shown(self) -> bool:
        """True when everything was as claimed."""
        return all(claim.held for claim in self.claims)

    def since_start(self, at_ns: int) -> float:
        """Return the seconds from the beginning of the demo to a moment."""
        return seconds_between(self.seen.marks[0].at_ns, at_ns)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, times in seconds from the beginning."""
        return {
            "shown": self.shown,
            "not_shown": [_line(claim) for claim in self.claims if not claim.held],
            "workers": len(self.seen.pids),
            "figures": asdict(self.figures),
            "claims": [asdict(claim) for claim in self.claims],
            "events": [
                {
                    "at": self.since_start(event.at_ns),
                    "state": event.state.value,
                    "generation": event.generation,
                    "reason": event.reason,
                }
                for event in self.seen.events
            ],
            "phases": [
                {"at": self.since_start(mark.at_ns), "title": mark.title}
                for mark in self.seen.marks
            ],
        }


def _line(claim: Claim) -> str:
    return f"{claim.text}: {claim.detail}"
