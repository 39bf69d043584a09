"""What every bench can be told on its command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

__all__ = ["LONG", "QUICK", "Effort", "effort_of", "parser_for"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure.

    Args:
        rounds: Turns that each contestant gets; the median of them counts.
        seconds: Time of one turn.
    """

    rounds: int
    seconds: float


LONG = Effort(rounds=15, seconds=0.03)
QUICK = Effort(rounds=3, seconds=0.01)


def parser_for(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all benches have.

    Args:
        description: The docstring of the script, shown by --help as it stands.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="rough figures in under 15 s")
    parser.add_argument(
        "--url", help="measure on this Redis or Valkey, not on an embedded one of its own"
    )
    return parser


def effort_of(options: argparse.Namespace) -> Effort:
    """Return how much to measure with these options."""
    return QUICK if options.quick else LONG
