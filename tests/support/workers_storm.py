"""Many processes at a half-open circuit, some of whose probes are killed.

`run_storm` starts it as a process of its own, which forks its workers from its warm self,
and forks a new one for each that died. Who is inside a probe is known from locks on a file,
one byte a worker: the kernel lets go of a lock when its process dies, whatever it did.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .workers import ROOT

_FIELDS = 7
_KILLS, _PROBES, _MOST_INSIDE, _MOST_OF_ONE, _LONGEST_GAP, _GENERATION, _BEGUN = range(_FIELDS)


@dataclass(frozen=True, slots=True)
class Storm:
    """What happens.

    Args:
        url: Where the circuit lives.
        prefix: Prefix of its keys.
        episodes: Entries into half-open after which it ends.
        workers: Processes at work at any time.
        places: half_open_max_calls.
        lease: probe_lease in seconds.
        seed: Of all chance; the order of the processes is the machine's.
        killed_anywhere: Kills also come from outside, at any moment of a worker's life.
        seconds: When it must be over.
    """

    url: str
    prefix: str
    episodes: int
    workers: int = 16
    places: int = 3
    lease: float = 0.15
    seed: int = 1
    killed_anywhere: bool = False
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What was seen.

    Args:
        generation: Of the circuit in the end, by the workers' permits; 3 an episode at most.
        kills: Probes that were killed.
        probes: Probes that were admitted.
        most_inside: The most that were inside at once.
        most_of_one: The most of one generation that were.
        longest_gap: Longest time in seconds in which no call was admitted.
        seconds: How long all took.
        finished: It did not run into its deadline.
    """

    generation: int
    kills: int
    probes: int
    most_inside: int
    most_of_one: int
    longest_gap: float
    seconds: float
    finished: bool


def run_storm(storm: Storm) -> Aftermath:
    """Run a storm in a process of its own."""
    command = [sys.executable, "-m", "tests.support.workers_storm", json.dumps(asdict(storm))]
    # Its children inherit the pipe: it ends when the last of them is gone.
    done = subprocess.run(
        command, stdout=subprocess.PIPE, cwd=ROOT, text=True, timeout=storm.seconds + 30, check=True
    )
    return Aftermath(**json.loads(done.stdout))


class _Board:
    """Numbers that all processes see, a row a worker; and the locks of those inside."""

    def __init__(self, storm: Storm) -> None:
        self._storm = storm
        self._numbers = mmap.mmap(-1, 8 * (1 + storm.workers * _FIELDS))
        file = tempfile.TemporaryFile()  # noqa: SIM115 - its descriptor lives as long as we do
        file.write(bytes(storm.workers))
        file.flush()
        self._file = file

    def read(self, worker: int, field: int) -> float:
        """Return a number of one worker."""
        return float(struct.unpack_from("d", self._numbers, self._place(worker, field))[0])

    def write(self, worker: int, field: int, value: float) -> None:
        """Set a number of one worker; only that worker does."""
        struct.pack_into("d", self._numbers, self._place(worker, field), value)

    def add(self, worker: int, field: int, value: float = 1.0) -> None:
        """Add to a number of one worker."""
        self.write(worker, field, self.read(worker, field) + value)

    def keep_most(self, worker: int, field: int, value: float) -> None:
        """Set a number of one worker if it grows."""
        self.write(worker, field, max(value, self.read(worker, field)))

    def all(self, field: int) -> list[float]:
        """Return a number of all workers."""
        return [self.read(worker, field) for worker in range(self._storm.workers)]

    def note_progress(self) -> float:
        """Note that a call was admitted; return the seconds since one was."""
        now = time.monotonic()
        (last,) = struct.unpack_from("d", self._numbers, 0)
        struct.pack_into("d", self._numbers, 0, now)
        return now - last if last else 0.0

    def enter(self, worker: int) -> None:
        """Show that a worker is inside a probe."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, worker)

    def leave(self, worker: int) -> None:
        """Show that it is not any more."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, worker)

    def count_inside(self, worker: int) -> tuple[int, int]:
        """Return how many are inside, this worker included; and of its generation.

        One that the machine stopped for longer than its lease is left out: it has lost its
        place, and no lease can keep it from waking up.
        """
        generation = self.read(worker, _GENERATION)
        inside = [
            self.read(other, _GENERATION) == generation
            for other in range(self._storm.workers)
            if other != worker and self._is_inside(other) and self._is_young(other)
        ]
        return 1 + len(inside), 1 + sum(inside)

    def _is_young(self, worker: int) -> bool:
        return time.monotonic() - self.read(worker, _BEGUN) < self._storm.lease

    def _is_inside(self, worker: int) -> bool:
        # Shared, so that two who look do not see each other.
        try:
            fcntl.lockf(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, worker)
        except OSError:
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, worker)
        return False

    def _place(self, worker: int, field: int) -> int:
        return 8 * (1 + worker * _FIELDS + field)


class _Weather:
    """The process that forks the workers."""

    def __init__(self, storm: Storm) -> None:
        self._storm = storm
        self._board = _Board(storm)
        self._worker_of: dict[int, int] = {}
        self._spawned = 0
        self._chance = random.Random(storm.seed)

    def run(self) -> Aftermath:
        """Keep the workers at it until enough happened."""
        begun = time.monotonic()
        for worker in range(self._storm.workers):
            self._spawn(worker)
        while not self._is_over(begun):
            self._replace_dead()
            if self._storm.killed_anywhere and self._chance.random() < 0.1:
                os.kill(self._chance.choice(list(self._worker_of)), signal.SIGKILL)
            time.sleep(0.002)
        seconds = time.monotonic() - begun
        for pid in self._worker_of:
            os.kill(pid, signal.SIGKILL)
        for _ in range(len(self._worker_of)):
            os.wait()
        return self._look_back(seconds)

    def _is_over(self, begun: float) -> bool:
        enough = max(self._board.all(_GENERATION)) >= 3 * self._storm.episodes
        return enough or time.monotonic() - begun > self._storm.seconds

    def _replace_dead(self) -> None:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                raise SystemExit(f"a worker ended by itself: {status}")
            self._spawn(self._worker_of.pop(pid))

    def _spawn(self, worker: int) -> None:
        self._spawned += 1
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _work(self._storm, self._board, worker, self._spawned)
                status = 0
            finally:
                os._exit(status)
        self._worker_of[pid] = worker

    def _look_back(self, seconds: float) -> Aftermath:
        board = self._board
        generation = int(max(board.all(_GENERATION)))
        return Aftermath(
            generation=generation,
            kills=int(sum(board.all(_KILLS))),
            probes=int(sum(board.all(_PROBES))),
            most_inside=int(max(board.all(_MOST_INSIDE))),
            most_of_one=int(max(board.all(_MOST_OF_ONE))),
            longest_gap=max(board.all(_LONGEST_GAP)),
            seconds=seconds,
            finished=generation >= 3 * self._storm.episodes,
        )


def _work(storm: Storm, board: _Board, worker: int, number: int) -> None:
    """Make calls until killed: fail while closed; as a probe succeed, fail or die."""
    from bb5_breaker import CircuitBreakerOpenError

    from .workers_circuit import ServiceFailed

    chance = random.Random(f"{storm.seed}/{number}")
    breaker = _breaker(storm)
    while True:
        board.write(worker, _BEGUN, time.monotonic())
        block = breaker.protect()
        try:
            block.__enter__()
        except CircuitBreakerOpenError as rejection:
            time.sleep(min(0.003, rejection.remaining_time))
            continue
        permit = block._leave
        assert permit is not None
        board.keep_most(worker, _LONGEST_GAP, board.note_progress())
        failed = permit.token is None
        if permit.token is not None:
            board.write(worker, _GENERATION, permit.generation)
            failed = _probe(storm, board, worker, chance)
        error = ServiceFailed("failed") if failed else None
        block.__exit__(type(error) if error else None, error, None)


def _probe(storm: Storm, board: _Board, worker: int, chance: random.Random) -> bool:
    board.enter(worker)
    board.add(worker, _PROBES)
    inside, of_one = board.count_inside(worker)
    board.keep_most(worker, _MOST_INSIDE, inside)
    board.keep_most(worker, _MOST_OF_ONE, of_one)
    time.sleep(chance.uniform(0.0, 0.004))
    if chance.random() < 1 / 3:
        board.add(worker, _KILLS)
        os.kill(os.getpid(), signal.SIGKILL)
    board.leave(worker)
    return chance.random() < 0.15


def _breaker(storm: Storm) -> Any:
    from .workers_circuit import make_breaker

    rules: Mapping[str, Any] = {
        "failure_threshold": 1,
        "timeout_seconds": 0.002,
        "reset_timeout": 0.0,
        "success_threshold": 2,
        "half_open_max_calls": storm.places,
        "probe_lease": storm.lease,
    }
    return make_breaker(storm.url, storm.prefix, **rules)


if __name__ == "__main__":
    asked = Storm(**json.loads(sys.argv[1]))
    # Before the forks, so that no worker pays for it.
    _breaker(asked)
    print(json.dumps(asdict(_Weather(asked).run())))
