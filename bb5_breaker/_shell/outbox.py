"""Reports on their way to the store, each counted once."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from bb5_breaker._core.commands import Command, CountRejections, Outcome, Record, Run
from bb5_breaker._core.local_view import LocalView
from bb5_breaker._core.replies import CircuitView
from bb5_breaker._core.tally import Pending
from bb5_breaker._shell.board import Board
from bb5_breaker._store.identity import process_owner
from bb5_breaker._store.interface import Store
from bb5_breaker._store.senders import Sender
from bb5_breaker.exceptions import StoreError

__all__ = ["Outbox", "reports_of"]

_log = logging.getLogger("bb5_breaker")
_LINES: Final = count()


@dataclass(frozen=True, slots=True)
class _Batch:
    """Reports under way. When their fate is unknown they are sent again as they are, so that
    the store recognises those it has counted by their numbers; only older."""

    commands: tuple[Command, ...]
    first: int
    made_at: float

    def commands_at(self, now: float) -> tuple[Command, ...]:
        """Return the reports with the ages that they have by now."""
        later_ms = int((now - self.made_at) * 1000)
        if not later_ms:
            return self.commands
        return tuple(
            replace(command, age_ms=command.age_ms + later_ms)
            if isinstance(command, Record)
            else command
            for command in self.commands
        )


class Outbox:
    """Sends reports, and sends again what perhaps did not arrive. Used by one thread at a time.

    Args:
        store: Where they go.
        board: Learns from the answers.
    """

    def __init__(self, store: Store, board: Board) -> None:
        self._store = store
        self._board = board
        # Not before its first use: in a child, this process may not have its own name yet.
        self._line = ""
        self._number = 0
        self._unsent: _Batch | None = None
        self._complained = False

    def send_again(self) -> None:
        """Send what perhaps did not arrive; to be called before more is taken along.

        Raises:
            StoreError: The store can not be reached; it is kept.
        """
        if self._unsent is not None:
            self._send(self._unsent)

    def send(self, commands: list[Command]) -> None:
        """Send reports.

        Raises:
            StoreError: The store can not be reached; they are kept.
        """
        if commands:
            batch = _Batch(tuple(commands), self._number, time.monotonic())
            self._number += len(commands)
            self._unsent = batch
            self._send(batch)

    def _send(self, batch: _Batch) -> None:
        asked_at = time.monotonic()
        if not self._line:
            self._line = f"{process_owner()}/f{next(_LINES)}"
        sender = Sender(self._line)
        sender.sequence = batch.first
        replies = self._store.run_many(batch.commands_at(asked_at), sender)
        self._unsent = None
        for command, reply in zip(batch.commands, replies, strict=True):
            if isinstance(reply, CircuitView):
                self._board.learn(command.circuit.service, reply, asked_at)
            elif isinstance(reply, StoreError):
                self._complain(reply)

    def _complain(self, error: StoreError) -> None:
        if not self._complained:
            self._complained = True
            _log.error("%s. The outcomes of its calls are lost meanwhile", error.message)


def reports_of(view: LocalView, pending: Pending | None, rejected: int) -> list[Command]:
    """Return the reports of what was taken from a view."""
    reports: list[Command] = []
    if pending is not None:
        tally, runs = pending.tally, (Run(Outcome.SUCCESS, pending.count),)
        reports.append(
            Record(view.circuit, tally.generation, tally.epoch, runs, "", pending.age_ms)
        )
    if rejected and view.seen is not None:
        reports.append(CountRejections(view.circuit, view.seen.told.epoch, rejected))
    return reports
