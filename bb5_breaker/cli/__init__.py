"""The command ``bb5-breaker``.

It ends with one of these codes:

==== ==========================================================================
code meaning
==== ==========================================================================
0    done
1    nothing found, not running, or (``server stop``) still in use
2    wrong usage or bad input; also: typer and rich are not installed
3    Redis can not be reached, or refused
4    the demo did not show what it should
5    ``doctor`` found problems, not only warnings
70   an unexpected error
130  interrupted
141  nobody reads the output any more
==== ==========================================================================

What was asked for goes to stdout, errors to stderr, one line each. With ``--json`` stdout gets one
JSON document, and stderr ``{"error": ..., "exit_code": ...}``. The command ``events`` prints
one JSON object a line instead, and goes on after what it tells on stderr in lines of text.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]

_NEEDED = ("typer", "rich")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        words: Arguments; None takes those of the process.

    Returns:
        The exit code, see above.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"bb5-breaker: the command line needs {' and '.join(missing)}; "
            "run: pip install 'bb5-breaker[cli]'",
            file=sys.stderr,
        )
        return 2
    from bb5_breaker.cli.running import run

    return run(list(sys.argv[1:] if words is None else words))
