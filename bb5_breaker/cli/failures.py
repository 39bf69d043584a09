"""From exceptions to one line on stderr and an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import typer

from bb5_breaker._store.addresses import mask_url
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.text import visible
from bb5_breaker.exceptions import BlackBoxError

__all__ = ["CommandError", "exit_code_of", "report_failure"]


class CommandError(Exception):
    """A command can not do what was asked.

    Args:
        message: What is wrong and what to change.
        exit_code: How the command ends.
    """

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


def exit_code_of(error: BaseException) -> ExitCode:
    """Return how the command ends after an error."""
    if isinstance(error, CommandError):
        return error.exit_code
    if isinstance(error, BlackBoxError):
        return ExitCode.STORE
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return ExitCode.INTERRUPTED
    if _is_usage_error(error):
        return ExitCode.USAGE
    return ExitCode.UNEXPECTED


def report_failure(error: BaseException, words: Sequence[str], *, as_json: bool) -> ExitCode:
    """Tell of an error in one line on stderr.

    Args:
        error: What happened.
        words: Arguments of the command; the secrets of URLs among them are kept out of the line.
        as_json: Write a JSON document instead of text.

    Returns:
        How the command ends.
    """
    code = exit_code_of(error)
    message = _without_secrets(_message_of(error, code), words)
    if as_json:
        print(json.dumps({"error": message, "exit_code": int(code)}), file=sys.stderr)
    else:
        print(f"bb5-breaker: {visible(message)}", file=sys.stderr)
    return code


def _message_of(error: BaseException, code: ExitCode) -> str:
    if isinstance(error, CommandError | BlackBoxError):
        return error.message
    if code is ExitCode.INTERRUPTED:
        return "interrupted"
    if code is ExitCode.USAGE:
        text = " ".join(str(error.format_message()).split())  # type: ignore[attr-defined]
        return f"{text} See --help."
    return f"unexpected {type(error).__name__}: {error}"


def _is_usage_error(error: BaseException) -> bool:
    # Some versions of typer bring a click of their own, so there is no one class to name.
    return isinstance(error, Exception) and callable(getattr(error, "format_message", None))


def _without_secrets(message: str, words: Sequence[str]) -> str:
    """Mask URLs that the message repeats from the command, wherever they stood there."""
    for word in words:
        value = word.partition("=")[2] if word.startswith("-") and "=" in word else word
        if "://" in value:
            message = message.replace(value, mask_url(value))
    return message
