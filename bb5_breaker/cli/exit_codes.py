"""How the command ends, for scripts that call it."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["HELP", "ExitCode"]


class ExitCode(IntEnum):
    """Exit codes of ``bb5-breaker``."""

    DONE = 0
    NOTHING = 1
    USAGE = 2
    STORE = 3
    DEMO = 4
    PROBLEMS = 5
    UNEXPECTED = 70
    INTERRUPTED = 130
    NO_READER = 141


HELP = (
    "Exit codes: 0 done; 1 nothing found, not running, or still in use; 2 wrong usage or bad "
    "input; 3 Redis can not be reached, or refused; 4 the demo did not show what it should; "
    "5 doctor found problems, not only warnings; 70 unexpected error; 130 interrupted; "
    "141 nobody reads the output."
)
