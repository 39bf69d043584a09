"""The steps of ``Flusher``, with a network that takes time."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from bb5_breaker._core.commands import CountRejections, Outcome, Record, Run
from bb5_breaker._core.local_view import LocalView

from .link import RETRY
from .network import Request
from .threads import Bell, Thread

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Flushing"]

_IDLE_ROUNDS = 3


class Flushing:
    """Reports what gathered; sends again, as it was, what may not have arrived."""

    def __init__(self, process: Process, rng: random.Random) -> None:
        self._process = process
        self._interval = rng.choice((0.05, 0.2, 0.4))
        self._size = rng.choice((1, 3, 10_000))
        self._calls: deque[LocalView] = deque()
        self._idle: dict[LocalView, int] = {}
        self._bell = Bell(process)
        self._is_started = False
        self._number = 0
        self._unsent: list[Request] = []
        self._made_at = 0.0

    def attend(self, view: LocalView) -> None:
        """Look after a view from now on, or sooner than planned."""
        view.watch(self._size)
        self._calls.append(view)
        if self._is_started:
            self._bell.ring()
        else:
            self._is_started = True
            self._process.timeline.after(1e-5, self._process.resume, self._run())

    def _run(self) -> Thread:
        while True:
            if not self._idle:
                while not self._calls:
                    yield self._bell.within(None)
                self._idle[self._calls.popleft()] = 0
            yield from self._pause(self._interval)
            if not (yield from self._take_round()):
                yield from self._rest(RETRY)

    def _pause(self, seconds: float) -> Thread:
        clock = self._process.clock
        until = clock() + seconds
        while (left := until - clock()) > 0:
            if not self._calls:
                yield self._bell.within(left)
            if not self._calls:
                return
            view = self._calls.popleft()
            if view in self._idle:
                return
            self._idle[view] = 0

    def _rest(self, seconds: float) -> Thread:
        clock = self._process.clock
        until = clock() + seconds
        while (left := until - clock()) > 0:
            if not self._calls:
                yield self._bell.within(left)
            while self._calls:
                self._idle[self._calls.popleft()] = 0

    def _take_round(self) -> Thread:
        while self._calls:
            self._idle[self._calls.popleft()] = 0
        if self._unsent and not (yield from self._send()):
            return False
        for view in list(self._idle):
            reports = self._take(view)
            self._idle[view] = 0 if reports else self._idle[view] + 1
            self._unsent += reports
        self._made_at = self._process.clock()
        if self._unsent and not (yield from self._send()):
            return False
        yield from self._let_go()
        return True

    def _take(self, view: LocalView) -> list[Request]:
        process = self._process
        pending, rejected = process.board.take(view, self._size)
        reports: list[Request] = []
        if pending is not None:
            tally, runs = pending.tally, (Run(Outcome.SUCCESS, pending.count),)
            command = Record(view.circuit, tally.generation, tally.epoch, runs, "", pending.age_ms)
            reports.append(self._number_next(command))
            reports[0].calls = process.collect(pending)
        if rejected and view.seen is not None:
            told = view.seen.told
            reports.append(self._number_next(CountRejections(view.circuit, told.epoch, rejected)))
        return reports

    def _number_next(self, command: Record | CountRejections) -> Request:
        self._number += 1
        process = self._process
        return Request(command, f"{process.name}/f", self._number, [], process.timeline.now)

    def _send(self) -> Thread:
        process = self._process
        asked_at = process.clock()
        self._age(asked_at)
        replies = yield process.network.ask(process, tuple(self._unsent))
        if replies is None:
            process.timeline.say(process.name, "had no answer to its reports")
            return False
        self._unsent = []
        for reply in replies:
            process.board.learn("svc", reply, asked_at)
        return True

    def _age(self, now: float) -> None:
        """Give what is sent again the age that it has by now."""
        older_ms = int((now - self._made_at) * 1000)
        self._made_at += older_ms / 1000
        for index, request in enumerate(self._unsent):
            command = request.command
            if isinstance(command, Record):
                command = replace(command, age_ms=command.age_ms + older_ms)
            sent_at = self._process.timeline.now
            self._unsent[index] = replace(request, command=command, taken_at=sent_at)

    def _let_go(self) -> Thread:
        for view in [view for view, rounds in self._idle.items() if rounds > _IDLE_ROUNDS]:
            del self._idle[view]
            self._process.board.unwatch(view)
            if self._process.weather.is_switched():
                yield self._process.weather.switched_for()
            if not view.is_settled:
                self._calls.append(view)
