"""One run of the command: from its arguments to its exit code."""

from __future__ import annotations

import io
import sys

from bb5_breaker.cli.application import application
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.failures import report_failure
from bb5_breaker.cli.output import drop_output

__all__ = ["run"]


def run(words: list[str]) -> int:
    """Run the command with these arguments.

    Args:
        words: What follows the command's name.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that can not show a letter is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = application(args=words, prog_name="bb5-breaker", standalone_mode=False)
        if code == ExitCode.INTERRUPTED:
            # Some versions of typer turn the interrupt into this code.
            raise KeyboardInterrupt
        sys.stdout.flush()
        return int(code or ExitCode.DONE)
    except (BrokenPipeError, SystemExit):
        # The reader has seen enough, as head does; typer answers that with a SystemExit of its
        # own.
        drop_output()
        return ExitCode.NO_READER
    except BaseException as error:
        return report_failure(error, words, as_json="--json" in words)
