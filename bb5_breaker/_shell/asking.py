"""Questions to the store, after it was told what it does not know."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from bb5_breaker._core.commands import Admit, Command, Promote, Reset
from bb5_breaker._core.replies import CircuitView, Reply, Verdict
from bb5_breaker._shell.board import Board
from bb5_breaker._shell.owed import Owed
from bb5_breaker._shell.remembered import Known
from bb5_breaker._store.interface import Store
from bb5_breaker.exceptions import StoreError

__all__ = ["Asker"]

_log = logging.getLogger("bb5_breaker")


class Asker:
    """Asks the store. Thread-safe.

    Args:
        store: The store.
        board: What is known here; learns what was told on the way.
        owed: What the store was not told while it was away.
        announce: Told of transitions that were made on the way.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        board: Board,
        owed: Owed,
        announce: Callable[[str, CircuitView], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._board = board
        self._owed = owed
        self._announce = announce
        self._clock = clock

    def pay(self, service: str) -> None:
        """Tell the store what it was not told of a circuit while it was away.

        Before anything else is asked: or calls would be let through that this process would
        have rejected a moment ago.

        Raises:
            StoreError: The store could not do it; what is left is owed still.
        """
        if not self._owed:
            return
        now = self._clock()
        reports = self._owed.take(service, now)
        while reports:
            try:
                told = self._view(reports[0])
            except StoreError as error:
                # One that perhaps arrived is kept by the store, see Store.take_unsure.
                for report in reports[error.is_silent :]:
                    self._owed.note(report, now)
                raise
            del reports[0]
            self._board.learn(service, told, now)
            self._announce(service, told)

    def ask(self, command: Command) -> tuple[Reply, float]:
        """Carry out a command; what is owed is to be paid before.

        Returns:
            The reply, and when it was asked for.

        Raises:
            StoreError: The store could not do it.
        """
        service, asked_at = command.circuit.service, self._clock()
        reply = self._store.run(command)
        if not isinstance(reply, CircuitView):
            return reply, asked_at
        remembered = self._board.remembered
        if reply.verdict is Verdict.ALLOW and remembered.overtook(service, reply, asked_at):
            # Another thread learnt better while it was on its way: that the circuit opened, or,
            # where the store had lost it, that it was given back.
            asked_at = self._clock()
            reply = self._view(command)
        if not self._exceeds(service, reply, asked_at):
            return reply, asked_at
        known = remembered.get_said(service)
        return (reply, asked_at) if known is None else self._ask_again(command, reply, known)

    def _ask_again(
        self, command: Command, reply: CircuitView, known: Known
    ) -> tuple[CircuitView, float]:
        """Give a circuit back that the store lost, and ask once more what was asked of nothing."""
        service, asked_at = command.circuit.service, self._clock()
        told = self._view(known.restoring(command.circuit, asked_at))
        # Whether it was taken or not, or another process came first: this is how it is.
        self._board.remembered.forget(service)
        self._board.learn(service, told, asked_at)
        if told.verdict is Verdict.RESTORED:
            self._tell_of(service, told)
        elif (told.epoch, told.generation) == (reply.epoch, reply.generation):
            return reply, asked_at
        # A probe that was let through keeps its place: asked again it would stand in its own way.
        if isinstance(command, Admit | Promote | Reset) and reply.verdict is not Verdict.PROBE:
            asked_at = self._clock()
            again = self._view(command)
            if again.verdict is Verdict.ALLOW and self._exceeds(service, again, asked_at):
                # Lost again already, as where memory is full and keys are thrown away.
                again = replace(told, verdict=Verdict.REJECT, moved_from=None)
            return again, asked_at
        return replace(told, verdict=reply.verdict, moved_from=None), asked_at

    def _exceeds(self, service: str, told: CircuitView, asked_at: float) -> bool:
        return self._board.remembered.exceeds(service, told, asked_at)

    def _view(self, command: Command) -> CircuitView:
        reply = self._store.run(command)
        assert isinstance(reply, CircuitView)
        return reply

    def _tell_of(self, service: str, told: CircuitView) -> None:
        _log.warning(
            "the store at %s had lost '%s' and was told that it is %s, for %.1f s",
            self._store.address,
            service,
            told.state.value,
            max(0, told.until_ms - told.now_ms) / 1000,
        )
        self._announce(service, told)
