"""Replay histories: ``python -m tests.model.simulated_fleet --seed N --verbose``."""

from __future__ import annotations

import argparse
import sys

from .calls import Violation
from .history import account_of, run_history


def main() -> int:
    """Run what the command line asks for; return 1 when an invariant does not hold."""
    parser = argparse.ArgumentParser(prog="simulated_fleet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="tell what happens")
    given = parser.parse_args()
    if given.verbose:
        print(account_of(given.seed))
        return 0
    for seed in range(given.seed, given.seed + given.count):
        try:
            run_history(seed)
        except Violation as violation:
            print(violation)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
