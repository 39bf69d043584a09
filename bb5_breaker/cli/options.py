"""The options that commands have in common, and those of the event commands."""

from __future__ import annotations

from typing import Annotated

import typer

from bb5_breaker._doctor.role import Role

__all__ = [
    "EventLimitOption",
    "FollowOption",
    "GlobOption",
    "JsonLinesOption",
    "JsonOption",
    "LimitOption",
    "PastOption",
    "PatienceOption",
    "PrefixOption",
    "RedisOption",
    "RoleOption",
    "ServiceArgument",
    "SinceOption",
]

RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        help="redis://, rediss://, unix://, redis+sentinel:// or embedded://; otherwise the one in "
        "BB5_REDIS_URL, otherwise the embedded server if it runs.",
        show_default=False,
    ),
]
PrefixOption = Annotated[
    str, typer.Option("--prefix", metavar="TEXT", help="Beginning of the names of keys.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of text.")
]
RoleOption = Annotated[
    Role,
    typer.Option(
        "--role",
        help="What the user in the URL is for: breakers, breakers and an event bus, or reading.",
    ),
]
PatienceOption = Annotated[
    float,
    typer.Option(
        "--store-timeout",
        min=0.001,
        max=60.0,
        help="The fleet's own, in seconds; doctor itself waits for 2.",
    ),
]
ServiceArgument = Annotated[
    str, typer.Argument(metavar="SERVICE", help="Service id.", show_default=False)
]
LimitOption = Annotated[
    int, typer.Option("--limit", min=1, max=1_000_000, help="Transitions to show.")
]
PastOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="ID|beginning",
        help="Those next after the event with this id; otherwise the latest.",
        show_default=False,
    ),
]
JsonLinesOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line instead of text.")
]
FollowOption = Annotated[
    bool,
    typer.Option("--follow", "-f", help="Go on with what happens, until interrupted by Ctrl-C."),
]
GlobOption = Annotated[
    str | None,
    typer.Option(
        "--service",
        metavar="GLOB",
        help="Only services of this form, like 'agent.*'.",
        show_default=False,
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="now|beginning|ID",
        help="Those next after the event with this id, as the lines end with it; otherwise the "
        "latest, with --follow those from now on.",
        show_default=False,
    ),
]
EventLimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        max=1_000_000,
        help="Transitions to print, 100 when it is not given; not with --follow.",
        show_default=False,
    ),
]
