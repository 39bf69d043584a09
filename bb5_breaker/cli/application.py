"""The commands and their options."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bb5_breaker._doctor.role import Role
from bb5_breaker.cli.documents import emit
from bb5_breaker.cli.exit_codes import HELP, ExitCode
from bb5_breaker.cli.options import (
    EventLimitOption,
    FollowOption,
    GlobOption,
    JsonLinesOption,
    JsonOption,
    LimitOption,
    PastOption,
    PatienceOption,
    PrefixOption,
    RedisOption,
    RoleOption,
    ServiceArgument,
    SinceOption,
)

__all__ = ["application"]

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
    limit: LimitOption = 10,
    as_json: JsonOption = False,
) -> int:
    """Show everything about one circuit, its running probes and its latest transitions."""
    from bb5_breaker.cli.arguments import check_service
    from bb5_breaker.cli.circuits import CircuitDocument
    from bb5_breaker.cli.target import find_store

    check_service(service)
    return emit(CircuitDocument.read(find_store(redis, prefix), service, limit), as_json=as_json)


@application.command(epilog=HELP)
def history(
    service: ServiceArgument,
    redis: RedisOption = None,
    prefix: PrefixOption = "circuit_breaker",
    limit: LimitOption = 100,
    since: PastOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the transitions of one circuit, the latest first."""
    from bb5_breaker.cli.arguments import check_past, check_service
    from bb5_breaker.cli.history import HistoryDocument
    from bb5_breaker.cli.target import find_store

    check_service(service)
    check_past(since)
    document = HistoryDocument.read(find_store(redis, prefix), service, limit, since)
    return emit(document, as_json=as_json)


@application.command(epilog=HELP)
def events(
    redis: RedisOption = None,
    prefix: PrefixOption = "circuit_breaker",
    follow: FollowOption = False,
    service: GlobOption = None,
    since: SinceOption = None,
    limit: EventLimitOption = None,
    as_json: JsonLinesOption = False,
) -> int:
    """Print the transitions of the whole fleet, the oldest first, one a line."""
    from bb5_breaker.cli.arguments import check_glob, check_past, check_since, check_unlimited
    from bb5_breaker.cli.event_lines import choose_printer
    from bb5_breaker.cli.events import list_events
    from bb5_breaker.cli.following import follow_events
    from bb5_breaker.cli.target import find_store

    check_glob(service)
    printer = choose_printer(as_json=as_json)
    if not follow:
        check_past(since)
        return list_events(find_store(redis, prefix), service, since, limit or 100, printer)
    start = "now" if since is None else since
    check_since(start)
    check_unlimited(limit)
    follow_events(find_store(redis, prefix), service, start, printer)


@application.command(epilog=HELP)
def reset(
    service: ServiceArgument,
    redis: RedisOption = None,
    prefix: PrefixOption = "circuit_breaker",
    as_json: JsonOption = False,
) -> int:
    """Close one circuit for the whole fleet, at once, and say what it was."""
    from bb5_breaker.cli.arguments import check_service
    from bb5_breaker.cli.circuits import ResetDocument
    from bb5_breaker.cli.target import find_store

    check_service(service)
    return emit(ResetDocument.make(find_store(redis, prefix), service), as_json=as_json)


@application.command(epilog=HELP)
def doctor(
    redis: RedisOption = None,
    prefix: PrefixOption = "circuit_breaker",
    role: RoleOption = Role.BREAKER,
    store_timeout: PatienceOption = 0.1,
    as_json: JsonOption = False,
) -> int:
    """Look for what stands in the way of a fleet on its Redis, and say what to do; writes nothing.

    Ends with 0 when there are no problems, perhaps with warnings, with 5 when there are, and with 3
    when Redis can not be reached or refuses the password.
    """
    from bb5_breaker.cli.doctor import DoctorDocument
    from bb5_breaker.cli.target import find_store

    document = DoctorDocument.make(find_store(redis, prefix), role, store_timeout)
    return emit(document, as_json=as_json)


@application.command(epilog=HELP)
def acl(
    role: RoleOption = Role.BREAKER,
    prefix: PrefixOption = "circuit_breaker",
    database: Annotated[
        int, typer.Option("--database", min=0, help="Number of the database in the URL.")
    ] = 0,
    as_json: JsonOption = False,
) -> int:
    """Print the command that makes a user of Redis with the least rights for a role."""
    from bb5_breaker.cli.least_rights import AclDocument

    return emit(AclDocument.make(role, prefix, database), as_json=as_json)


@application.command("load-scripts", epilog=HELP)
def load_scripts(
    redis: RedisOption = None,
    prefix: PrefixOption = "circuit_breaker",
    as_json: JsonOption = False,
) -> int:
    """Make the scripts known to the server, for users who may run neither EVAL nor SCRIPT LOAD."""
    from bb5_breaker.cli.least_rights import LoadDocument
    from bb5_breaker.cli.target import find_store

    return emit(LoadDocument.make(find_store(redis, prefix)), as_json=as_json)


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
