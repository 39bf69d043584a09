"""The commands and their options."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bb5_breaker.cli.documents import emit
from bb5_breaker.cli.exit_codes import HELP, ExitCode

__all__ = ["application"]

RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        help="redis://, rediss://, unix:// or embedded://; otherwise the one in BB5_REDIS_URL, "
        "otherwise the embedded server if it runs.",
        show_default=False,
    ),
]
PrefixOption = Annotated[
    str, typer.Option("--prefix", metavar="TEXT", help="Beginning of the names of keys.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of text.")
]
ServiceArgument = Annotated[
    str, typer.Argument(metavar="SERVICE", help="Service id.", show_default=False)
]

application = typer.Typer(
    name="bb5-breaker",
    help="Looks at and resets the circuits that a fleet shares through Redis.",
    epilog=HELP,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
server = typer.Typer(help="The embedded server of this user and machine.", rich_markup_mode=None)
application.add_typer(server, name="server")


def _print_version(wanted: bool) -> None:
    if wanted:
        from bb5_breaker import __version__

        print(f"bb5-breaker {__version__}")
        raise typer.Exit


@application.callback(invoke_without_command=True)
def begin(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Without a command, say which there are."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(ExitCode.USAGE)


@application.command(epilog=HELP)
def status(
    glob: Annotated[
        str | None,
        typer.Argument(
            metavar="GLOB", help="Only services of this form, like 'agent.*'.", show_default=False
        ),
    ] = None,
    redis: RedisOption = None,
    prefix: PrefixOption = "circuit_breaker",
    as_json: JsonOption = False,
) -> int:
    """List the circuits of the fleet, the open ones first."""
    from bb5_breaker.cli.circuits import FleetDocument
    from bb5_breaker.cli.target import find_store

    return emit(FleetDocument.read(find_store(redis, prefix), glob), as_json=as_json)


@application.command(epilog=HELP)
def show(
    service: ServiceArgument,
    redis: RedisOption = None,
    prefix: PrefixOption = "circuit_breaker",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000_000, help="Transitions to show.")
    ] = 10,
    as_json: JsonOption = False,
) -> int:
    """Show everything about one circuit, its running probes and its latest transitions."""
    from bb5_breaker.cli.circuits import CircuitDocument
    from bb5_breaker.cli.target import check_service, find_store

    check_service(service)
    return emit(CircuitDocument.read(find_store(redis, prefix), service, limit), as_json=as_json)


@application.command(epilog=HELP)
def reset(
    service: ServiceArgument,
    redis: RedisOption = None,
    prefix: PrefixOption = "circuit_breaker",
    as_json: JsonOption = False,
) -> int:
    """Close one circuit for the whole fleet, at once, and say what it was."""
    from bb5_breaker.cli.circuits import ResetDocument
    from bb5_breaker.cli.target import check_service, find_store

    check_service(service)
    return emit(ResetDocument.make(find_store(redis, prefix), service), as_json=as_json)


@application.command(epilog=HELP)
def demo(as_json: JsonOption = False) -> int:
    """Show 8 processes, one circuit and a service that fails and recovers; half a minute."""
    from bb5_breaker.cli.failures import CommandError
    from bb5_breaker.demo import DemoStuck, run_demo

    try:
        result = run_demo(as_json=as_json)
    except DemoStuck as stuck:
        raise CommandError(f"the demo did not begin: {stuck}", ExitCode.DEMO) from stuck
    return ExitCode.DONE if result.shown else ExitCode.DEMO


@server.command("start", epilog=HELP)
def start(as_json: JsonOption = False) -> int:
    """Start the embedded server and keep it until it is stopped."""
    from bb5_breaker.cli.embedded_server import StartDocument

    return emit(StartDocument.make(), as_json=as_json)


@server.command("status", epilog=HELP)
def server_status(as_json: JsonOption = False) -> int:
    """Say whether the embedded server runs, and where; starts nothing."""
    from bb5_breaker.cli.embedded_server import ServerDocument

    return emit(ServerDocument.read(), as_json=as_json)


@server.command("stop", epilog=HELP)
def stop(
    force: Annotated[
        bool, typer.Option("--force", help="Even when processes use it; what it holds is lost.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Stop the embedded server, unless processes use it."""
    from bb5_breaker.cli.embedded_server import StopDocument

    return emit(StopDocument.make(force), as_json=as_json)
