"""Child processes of a bench, which do one order after another and answer."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Hand", "hire", "hire_all"]

_CONTEXT = multiprocessing.get_context("spawn")
_LONGEST_SECONDS = 60.0
_END_SECONDS = 10.0

Job = Callable[..., Callable[[Any], Any]]


class Hand:
    """A child process as its parent sees it."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def order(self, order: Any) -> None:
        """Give an order without waiting for the answer."""
        self._connection.send(order)

    def answer(self) -> Any:
        """Wait for the answer to the order given first.

        Raises:
            RuntimeError: The process ended, met an error, or took more than a minute.
        """
        if not self._connection.poll(_LONGEST_SECONDS):
            raise RuntimeError(f"{self._name} did not answer in {_LONGEST_SECONDS:g} s")
        try:
            return self._connection.recv()
        except EOFError:
            raise RuntimeError(f"{self._name} ended; its error is above") from None

    def ask(self, order: Any) -> Any:
        """Give an order and wait for its answer."""
        self.order(order)
        return self.answer()


@contextmanager
def hire(job: Job, *arguments: Any) -> Iterator[Hand]:
    """Start a process for the length of a block.

    Args:
        job: Called in the child with the arguments, it returns what carries out an order.
        arguments: What the job needs; pickled.

    Yields:
        The process; the job is ready once it has answered an order.
    """
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_work, args=(theirs, job, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Hand(ours, f"process {process.pid} ({job.__name__})")
    finally:
        ours.close()
        process.join(_END_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


@contextmanager
def hire_all(number: int, job: Job, *arguments: Any) -> Iterator[list[Hand]]:
    """Start several processes alike for the length of a block."""
    with ExitStack() as stack:
        yield [stack.enter_context(hire(job, *arguments)) for _ in range(number)]


def _work(connection: Connection, job: Job, arguments: tuple[Any, ...]) -> None:
    carry_out = job(*arguments)
    while True:
        try:
            order = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        connection.send(carry_out(order))
