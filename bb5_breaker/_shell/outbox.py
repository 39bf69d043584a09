"""Reports on their way to the store, each counted once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from bb5_breaker._core.commands import Command, CountRejections, Outcome, Record, Run
from bb5_breaker._core.local_view import LocalView
from bb5_breaker._core.replies import CircuitView, Reply
from bb5_breaker._core.tally import Pending
from bb5_breaker._shell.board import Board
from bb5_breaker._store.identity import process_owner
from bb5_breaker._store.interface import Store
from bb5_breaker._store.senders import Sender, Unsure
from bb5_breaker.exceptions import StoreError, StoreRefusedError, StoreUnavailableError

__all__ = ["Outbox", "reports_of"]

_log = logging.getLogger("bb5_breaker")
_LINES: Final = count()


@dataclass(frozen=True, slots=True)
class _Batch:
    """Reports under way. When their fate is unknown they are sent again as they are, so that
    the store recognises those it has counted by their numbers; only older."""

    commands: tuple[Command, ...]
    numbers: Sequence[int]
    made_at: float

    def commands_at(self, now: float) -> tuple[Command, ...]:
        """Return the reports with the ages that they have by now."""
        return tuple(_aged(command, now - self.made_at) for command in self.commands)

    def part(self, places: Sequence[int]) -> _Batch:
        """Return the reports at some places, with their numbers."""
        commands = tuple(self.commands[place] for place in places)
        return _Batch(commands, [self.numbers[place] for place in places], self.made_at)


class Outbox:
    """Sends reports, and sends again what did not arrive, or perhaps not. Used by one thread at a
    time.

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
        self._unsent: list[_Batch] = []
        self._unsure: list[Unsure] = []
        self._complained = False
        # Parts of the store that did not answer in this round.
        self._silent: set[str] = set()
        # Why reports are kept that the store refused; None when it took all.
        self.refusal: StoreError | None = None

    @property
    def is_empty(self) -> bool:
        """True when nothing is kept to be sent again."""
        return not self._unsent and not self._unsure

    @property
    def waiting(self) -> frozenset[str]:
        """The services of which reports are kept; no more are to be sent before these."""
        return frozenset(
            command.circuit.service for batch in self._unsent for command in batch.commands
        )

    def send_again(self) -> None:
        """Send what is kept; to be called before more is taken along.

        Raises:
            StoreError: The store can not be reached; it is kept.
        """
        self.refusal = None
        self._silent.clear()
        held, self._unsent = self._unsent, []
        try:
            while held:
                if self._is_silent(held[-1].commands):
                    self._unsent.append(held.pop())
                else:
                    self._send(held.pop())
        finally:
            self._unsent += held
        self._unsure += self._store.take_unsure()
        for report in list(self._unsure):
            if not self._is_silent([report.command]) and self._send_unsure(report):
                self._unsure.remove(report)

    def send(self, commands: list[Command]) -> None:
        """Send reports; none of a service that waits.

        Raises:
            StoreError: The store can not be reached; they are kept.
        """
        if commands:
            numbers = range(self._number + 1, self._number + 1 + len(commands))
            self._number += len(commands)
            self._send(_Batch(tuple(commands), numbers, time.monotonic()))

    def _send_unsure(self, report: Unsure) -> bool:
        """Send a call's report that perhaps did not arrive, under its own name and number.

        Returns:
            True when its fate is known now.
        """
        now = time.monotonic()
        command = _aged(report.command, now - report.at)
        replies = self._store.run_many([command], report.sender, [report.sender.sequence])
        if isinstance(replies[0], StoreUnavailableError):
            self._note_refusal(command, replies[0])
            return False
        self._take(command, replies[0], now)
        return True

    def _send(self, batch: _Batch) -> None:
        asked_at = time.monotonic()
        if not self._line:
            self._line = f"{process_owner()}/f{next(_LINES)}"
        commands = batch.commands_at(asked_at)
        try:
            replies = self._store.run_many(commands, Sender(self._line), batch.numbers)
        except BaseException:
            self._unsent.append(batch)
            raise
        refused = []
        for place, (command, reply) in enumerate(zip(commands, replies, strict=True)):
            if isinstance(reply, StoreUnavailableError):
                self._note_refusal(command, reply)
                refused.append(place)
            else:
                self._take(command, reply, asked_at)
        if refused:
            self._unsent.append(batch.part(refused))

    def _is_silent(self, commands: Iterable[Command]) -> bool:
        """Return True for what goes to parts of the store alone that were silent just now."""
        return bool(self._silent) and all(
            self._store.part_of(command.circuit.service) in self._silent for command in commands
        )

    def _note_refusal(self, command: Command, error: StoreUnavailableError) -> None:
        self.refusal = error
        if not isinstance(error, StoreRefusedError):
            # Of a Cluster. Each further question would cost a time-out, for which others wait.
            self._silent.add(self._store.part_of(command.circuit.service))

    def _take(self, command: Command, reply: Reply | StoreError, asked_at: float) -> None:
        if isinstance(reply, CircuitView):
            self._board.learn(command.circuit.service, reply, asked_at)
        elif isinstance(reply, StoreError) and not self._complained:
            self._complained = True
            _log.error("%s. The outcomes of its calls are lost meanwhile", reply.message)


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


def _aged(command: Command, seconds: float) -> Command:
    """Return a report as it is after some time; only successes that come first grow older."""
    later_ms = int(seconds * 1000)
    if later_ms and isinstance(command, Record) and command.runs[0].outcome is Outcome.SUCCESS:
        return replace(command, age_ms=command.age_ms + later_ms)
    return command
