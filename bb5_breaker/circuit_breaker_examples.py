"""Ten runnable examples: ``python -m bb5_breaker.circuit_breaker_examples [number or name ...]``.

They use the Redis in ``BB5_REDIS_URL``, else the embedded server. Each is a function to read and
to import; its circuits have names that nobody else uses, and are deleted at its end.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Final

from bb5_breaker.configuration import configure
from bb5_breaker.event_bus import shutdown_event_bus
from bb5_breaker.examples.agent_execution import agent_execution
from bb5_breaker.examples.basic_usage import basic_usage
from bb5_breaker.examples.context_manager import context_manager
from bb5_breaker.examples.custom_configuration import custom_configuration
from bb5_breaker.examples.decorator_usage import decorator_usage
from bb5_breaker.examples.event_bus_integration import event_bus_integration
from bb5_breaker.examples.half_open_recovery import half_open_recovery
from bb5_breaker.examples.multiple_agents import multiple_agents
from bb5_breaker.examples.stage import ExampleError
from bb5_breaker.examples.state_monitoring import state_monitoring
from bb5_breaker.examples.timeout_handling import timeout_handling
from bb5_breaker.exceptions import BlackBoxError

__all__ = [
    "EXAMPLES",
    "agent_execution",
    "basic_usage",
    "context_manager",
    "custom_configuration",
    "decorator_usage",
    "event_bus_integration",
    "half_open_recovery",
    "main",
    "multiple_agents",
    "state_monitoring",
    "timeout_handling",
]

Example = Callable[[], None]

EXAMPLES: Final[tuple[Example, ...]] = (
    basic_usage,
    agent_execution,
    custom_configuration,
    state_monitoring,
    half_open_recovery,
    event_bus_integration,
    timeout_handling,
    multiple_agents,
    decorator_usage,
    context_manager,
)
# Lessons, not measurements: a busy machine must not make one of them fail.
_PATIENCE: Final = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run examples and tell whether they showed what they should.

    Args:
        arguments: Numbers or names of examples, or ``--list``; none runs all. None takes the
            command line's.

    Returns:
        0 when all that ran showed what they should, 1 otherwise.

    Raises:
        SystemExit: With code 2 for an argument that names no example.
    """
    options = _parser().parse_args(arguments)
    if options.list:
        for example in EXAMPLES:
            print(_headline(example))
        return 0
    configure(store_timeout=_PATIENCE)
    chosen: Sequence[Example] = options.which or EXAMPLES
    begun = time.perf_counter()
    try:
        shown = sum([_run(example) for example in chosen])
    finally:
        shutdown_event_bus()
    seconds = time.perf_counter() - begun
    print(f"{shown} of {len(chosen)} examples showed what they should, in {seconds:.1f} s")
    return 0 if shown == len(chosen) else 1


def _run(example: Example) -> bool:
    print(_headline(example))
    try:
        example()
    except (ExampleError, BlackBoxError) as error:
        print(f"   FAILED: {error}")
        return False
    except Exception:
        print("   FAILED by an error:", flush=True)
        traceback.print_exc()
        return False
    return True


def _headline(example: Example) -> str:
    lesson = (example.__doc__ or "").partition("\n")[0]
    return f"{EXAMPLES.index(example) + 1:2}. {example.__name__}: {lesson}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bb5_breaker.circuit_breaker_examples",
        description="Run the examples of the circuit breaker.",
    )
    parser.add_argument(
        "which",
        nargs="*",
        type=_chosen,
        metavar="example",
        help=f"number from 1 to {len(EXAMPLES)}, or name; none runs all",
    )
    parser.add_argument("--list", action="store_true", help="list the examples and run none")
    return parser


def _chosen(word: str) -> Example:
    numbered = {str(number): example for number, example in enumerate(EXAMPLES, start=1)}
    named = {example.__name__: example for example in EXAMPLES}
    example = numbered.get(word) or named.get(word)
    if example is None:
        raise argparse.ArgumentTypeError(
            f"{word!r} names no example; give 1 to {len(EXAMPLES)}, or a name that --list shows"
        )
    return example


if __name__ == "__main__":
    sys.exit(main())
