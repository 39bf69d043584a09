"""The demo: 8 processes, one circuit, and a service that fails and recovers, live.

:mod:`service` and :mod:`worker` are processes of their own. They write records, one JSON line
each, to their standard output and end with their standard input, so nothing outlives the demo.
:mod:`journal` collects the records, :mod:`story` leads through the phases, an audience shows them,
and :mod:`figures` and :mod:`claims` work out at the end what was seen and whether it is so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bb5_breaker.demo.result import DemoResult

__all__ = ["DemoStuck", "run_demo"]


class DemoStuck(Exception):
    """Something that the demo waited for did not come."""


def run_demo(*, as_json: bool) -> DemoResult:
    """Run the demo; about 25 seconds.

    Args:
        as_json: Show nothing meanwhile and print one JSON document at the end.

    Returns:
        What was seen. Everything that the demo started has ended.

    Raises:
        DemoStuck: Its processes do not come up.
        EmbeddedServerError: The embedded server can not be started.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; everything has ended then, too.
    """
    from bb5_breaker.demo.performance import perform

    return perform(as_json=as_json)
