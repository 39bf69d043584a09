"""A guarded block of code."""

from __future__ import annotations

from types import TracebackType

from bb5_breaker._core.flows import Permit
from bb5_breaker._shell.guard import Guard
from bb5_breaker._shell.link import Link

__all__ = ["ProtectedBlock"]


class ProtectedBlock:
    """Context manager around code that may fail; each object guards one block.

    Entering raises :class:`~bb5_breaker.exceptions.CircuitBreakerOpenError` when the circuit
    does not let the block run. ``call_timeout`` does not apply: a block can not be stopped.
    """

    __slots__ = ("_guard", "_link", "_permit")

    def __init__(self, guard: Guard, link: Link) -> None:
        self._guard = guard
        self._link = link
        self._permit: Permit | None = None

    def __enter__(self) -> None:
        if self._permit is not None:
            raise RuntimeError("this block is already entered; call protect() for each block")
        self._permit = self._guard.admit(self._link)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        permit, self._permit = self._permit, None
        if permit is None:
            return
        if error is None:
            self._guard.succeed(self._link, permit)
        else:
            self._guard.fail(self._link, permit, error)
