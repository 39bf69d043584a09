"""Programs that end with calls not reported yet: python -m tests.support.workers_exits <how> ...

Each makes seven successful calls, of which none is reported at the time. Further arguments are
the URL and the prefix.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any

from .workers_circuit import make_breaker

CALLS = 7


def call(url: str, prefix: str) -> None:
    """Make the calls; the views are trusted, so that they are not reported one by one."""
    breaker = make_breaker(url, prefix, settings={"flush_interval": 60.0})
    guard = breaker._guard
    # Whether the view is trusted can be told without a call.
    breaker.call(int)
    while guard.decide() is None:
        breaker.call(int)
    breaker.stats.reset()
    for _ in range(CALLS):
        breaker.call(int)


def end(url: str, prefix: str) -> None:
    """Come to the end of the program."""
    call(url, prefix)


def leave(url: str, prefix: str) -> None:
    """Call sys.exit."""
    call(url, prefix)
    sys.exit(3)


def fail(url: str, prefix: str) -> None:
    """End by an error."""
    call(url, prefix)
    raise RuntimeError("the program failed")


def fork(url: str, prefix: str) -> None:
    """End a child of os.fork() by sys.exit()."""
    pid = os.fork()
    if pid == 0:
        call(url, prefix)
        sys.exit(0)
    os.waitpid(pid, 0)


def process(method: str) -> Callable[[str, str], None]:
    """End a child of multiprocessing."""

    def run(url: str, prefix: str) -> None:
        context: Any = multiprocessing.get_context(method)
        child = context.Process(target=call, args=(url, prefix))
        child.start()
        child.join()

    return run


def pool(method: str) -> Callable[[str, str], None]:
    """End a child of a ProcessPoolExecutor."""

    def run(url: str, prefix: str) -> None:
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
            executor.submit(call, url, prefix).result()

    return run


def wait(url: str, prefix: str) -> None:
    """Say so, and end when told."""
    call(url, prefix)
    print("called", flush=True)
    sys.stdin.readline()


WAYS: dict[str, Callable[[str, str], None]] = {
    "end": end,
    "leave": leave,
    "fail": fail,
    "fork": fork,
    "process-fork": process("fork"),
    "process-spawn": process("spawn"),
    "process-forkserver": process("forkserver"),
    "pool-fork": pool("fork"),
    "pool-spawn": pool("spawn"),
    "wait": wait,
}

if __name__ == "__main__":
    WAYS[sys.argv[1]](*sys.argv[2:])
