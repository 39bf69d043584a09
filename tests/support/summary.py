"""The account of servers at the end of a test run."""

from __future__ import annotations

from collections.abc import Iterator

from .fleet import Fleet
from .kinds import NARROW_VARIABLE, available, discover, missing


def server_summary(fleet: Fleet) -> Iterator[str]:
    """Yield a line for each server: what ran on it, or why nothing did.

    Args:
        fleet: the servers of this run.
    """
    chosen = discover()
    for kind in available():
        if kind.name in fleet.versions:
            version, tests = fleet.account()[kind.name]
            yield f"ran on {kind.name}: {version} ({kind.found}), {tests} tests"
        elif kind in chosen:
            yield f"not used {kind.name}: no selected test asked for it ({kind.found})"
        else:
            yield f"left out {kind.name}: not named in {NARROW_VARIABLE} ({kind.found})"
    for want in missing():
        yield f"missed {want.name}: to have it, {want.how_to_get}"
