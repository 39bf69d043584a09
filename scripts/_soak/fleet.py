"""The worker processes of a soak, and what was done to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .worker import Orders

__all__ = ["Fleet", "Hand"]

_ROOT = Path(__file__).resolve().parents[2]
_END_SECONDS = 15.0


@dataclass(slots=True)
class Hand:
    """One process.

    Args:
        process: It.
        journal: What it writes.
        started: Unix time of its start.
        stops: When it was stopped and went on, Unix times.
        ended: When it was killed; None while it lives.
    """

    process: subprocess.Popen[bytes]
    journal: Path
    started: float
    stops: list[tuple[float, float]] = field(default_factory=list)
    ended: float | None = None
    stopped_at: float | None = None


class Fleet:
    """Starts workers, and new ones for those that are killed.

    Args:
        url: Where the circuits are.
        prefix: Prefix of keys and channels.
        directory: Where journals go.
        workers: How many are at work.
        seed: Of all chance.
    """

    def __init__(self, url: str, prefix: str, directory: Path, workers: int, seed: int) -> None:
        self._url = url
        self._prefix = prefix
        self._directory = directory
        self._seed = seed
        self.all: list[Hand] = []
        for _ in range(workers):
            self.hire()

    @property
    def living(self) -> list[Hand]:
        """Those that were not killed."""
        return [hand for hand in self.all if hand.ended is None]

    def hire(self) -> None:
        """Start one more: cached or strict, in a loop or not, in turn."""
        number = len(self.all)
        journal = self._directory / f"{number}.jsonl"
        orders = Orders(
            url=self._url,
            prefix=self._prefix,
            journal=str(journal),
            consistency="strict" if number % 2 else "cached",
            is_async=number % 4 >= 2,
            seed=self._seed * 1000 + number,
        )
        command = [sys.executable, "-m", "scripts._soak.worker", json.dumps(asdict(orders))]
        log = (self._directory / f"{number}.log").open("wb")
        with log:
            process = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log)
        self.all.append(Hand(process, journal, time.time()))

    def await_calls(self, hand: Hand, seconds: float = 20.0) -> None:
        """Return when a worker has made a call.

        Raises:
            RuntimeError: It ended, or does not begin.
        """
        deadline = time.monotonic() + seconds
        while not (hand.journal.exists() and hand.journal.stat().st_size):
            if hand.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"a worker does not begin:\n{self.log_of(hand)}")
            time.sleep(0.02)

    def log_of(self, hand: Hand) -> str:
        """Return what a worker printed."""
        return hand.journal.with_suffix(".log").read_text(errors="replace")

    def stop(self, hand: Hand) -> None:
        """Freeze one, if it is not frozen."""
        if hand.stopped_at is None:
            hand.stopped_at = time.time()
            os.kill(hand.process.pid, signal.SIGSTOP)

    def go_on(self, hand: Hand) -> None:
        """Let a frozen one go on."""
        if hand.stopped_at is not None:
            os.kill(hand.process.pid, signal.SIGCONT)
            hand.stops.append((hand.stopped_at, time.time()))
            hand.stopped_at = None

    def kill(self, hand: Hand) -> None:
        """End one at once."""
        self.go_on(hand)
        hand.ended = time.time()
        hand.process.kill()
        hand.process.wait()

    def dismiss(self) -> list[str]:
        """Let all end in good order; return what went wrong with that."""
        wrong = []
        for hand in self.living:
            self.go_on(hand)
            hand.process.terminate()
        for hand in self.living:
            try:
                code = hand.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                wrong.append(f"{hand.journal.name}: does not end")
                hand.process.kill()
                hand.process.wait()
            else:
                if code:
                    wrong.append(f"{hand.journal.name}: exit code {code}\n{self.log_of(hand)}")
        return wrong
