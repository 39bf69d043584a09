"""What was typed, checked: what is malformed is wrong usage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bb5_breaker._store.entry_ids import Since
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.failures import CommandError
from bb5_breaker.service_id import check_service_id

__all__ = [
    "as_usage_error",
    "check_glob",
    "check_past",
    "check_service",
    "check_since",
    "check_unlimited",
]

# Whatever has one of these in it matches no service id.
_IN_NO_ID: Final = re.compile(r"[\s{}\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_service(service: str) -> None:
    """Refuse a malformed service id.

    Raises:
        CommandError: It is one.
    """
    with as_usage_error():
        check_service_id(service)


def check_glob(glob: str | None) -> None:
    """Refuse a pattern that no service id can match; None stands for all of them.

    Raises:
        CommandError: It is one.
    """
    if glob is None:
        return
    found = _IN_NO_ID.search(glob)
    if found or not glob:
        what = f"has {found.group()!r} at position {found.start()}" if found else "is empty"
        raise CommandError(
            f"the pattern {glob!r} {what}, so no service can match it; write one like 'agent.*'",
            ExitCode.USAGE,
        )


def check_since(since: str) -> None:
    """Refuse a malformed beginning: it is "now", "beginning" or the id of an event.

    Raises:
        CommandError: It is none of these.
    """
    with as_usage_error():
        Since.parse(since)


def check_past(since: str | None) -> None:
    """Refuse a beginning after which nothing has happened yet; None stands for the latest.

    Raises:
        CommandError: It is "now", or malformed.
    """
    if since is None:
        return
    check_since(since)
    if since == "now":
        raise CommandError(
            "nothing has happened since 'now': name the id of an event or 'beginning', leave "
            "--since out for the latest, or wait for what happens with 'events --follow'",
            ExitCode.USAGE,
        )


def check_unlimited(limit: int | None) -> None:
    """Refuse a limit where there is no end.

    Raises:
        CommandError: One was given.
    """
    if limit is not None:
        raise CommandError(
            f"--limit is for what has happened, not for --follow; pipe into 'head -n {limit}'",
            ExitCode.USAGE,
        )


@contextmanager
def as_usage_error() -> Iterator[None]:
    """Turn the ValueError of a check into wrong usage.

    Raises:
        CommandError: There was one.
    """
    try:
        yield
    except ValueError as error:
        raise CommandError(str(error), ExitCode.USAGE) from error
