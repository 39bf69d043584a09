"""A guarded block of code."""

from __future__ import annotations

from time import monotonic
from types import TracebackType

from bb5_breaker._shell.guard import Guard, Leave
from bb5_breaker._shell.tasks import admit_task, fail_task, release_task, succeed_task

__all__ = ["ProtectedBlock"]


class ProtectedBlock:
    """Context manager, plain or async, around code that may fail; each object guards one block.

    Entering raises :class:`~bb5_breaker.exceptions.CircuitBreakerOpenError` when the circuit
    does not let the block run. ``call_timeout`` does not apply: a block can not be stopped.
    """

    __slots__ = ("_guard", "_leave")

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._leave: Leave | None = None

    def __enter__(self) -> None:
        if self._leave is not None:
            raise _entered_twice()
        guard = self._guard
        tally = guard.tally
        self._leave = tally if monotonic() < tally.lease.until else guard.admit()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave = self._leave
        self._leave = None
        if leave is None:
            return
        if error is None:
            self._guard.succeed(leave)
        else:
            self._guard.fail(leave, error)

    async def __aenter__(self) -> None:
        if self._is_entered():
            raise _entered_twice()
        leave = await admit_task(self._guard)
        # Another task may have come first while this one asked.
        if self._is_entered():
            release_task(self._guard, leave)
            raise _entered_twice()
        self._leave = leave

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave = self._leave
        self._leave = None
        if leave is None:
            return
        if error is None:
            await succeed_task(self._guard, leave)
        else:
            await fail_task(self._guard, leave, error)

    def _is_entered(self) -> bool:
        return self._leave is not None


def _entered_twice() -> RuntimeError:
    return RuntimeError("this block is already entered; call protect() for each block")
