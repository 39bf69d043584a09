"""Processes that keep circuits moving while a test does harm to where they live."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, NamedTuple, Self

from .workers import ROOT

_PLACES = 2
_END_SECONDS = 30.0
# Admitted while the store was away, by a process for itself.
_ALONE = "private@"


class Probe(NamedTuple):
    """A probe that the store gave a place to.

    Args:
        service: Its circuit.
        epoch: Life of the circuit.
        generation: Half-open state that it belongs to.
        begun: When it began, on the clock of this machine.
        ended: When it ended.
    """

    service: str
    epoch: str
    generation: int
    begun: float
    ended: float


class Load:
    """Worker processes that call through the same circuits, some calls failing.

    Args:
        url: Where the circuits are.
        prefix: Prefix of keys and channels.
        circuits: Their number; they are named svc-0 and so on.
        workers: Processes.
    """

    places = _PLACES

    def __init__(self, url: str, prefix: str, circuits: int = 6, workers: int = 3) -> None:
        self.services = [f"svc-{number}" for number in range(circuits)]
        words = [sys.executable, "-m", __name__, url, prefix, str(circuits)]
        # Files, not pipes: nobody reads before the end.
        self._told = [tempfile.TemporaryFile("w+") for _ in range(workers)]  # noqa: SIM115
        self._processes = [
            subprocess.Popen(
                [*words, str(number)], cwd=ROOT, stdin=subprocess.PIPE, stdout=told, text=True
            )
            for number, told in enumerate(self._told)
        ]

    def finish(self) -> tuple[list[Probe], int]:
        """End the workers; return the probes of all, and the number of all calls.

        Raises:
            AssertionError: A call met an error that was not its own.
        """
        probes: list[Probe] = []
        calls = 0
        for process, told in zip(self._processes, self._told, strict=True):
            process.communicate(timeout=_END_SECONDS)
            assert process.returncode == 0, "a call failed because of the store; see stderr"
            told.seek(0)
            *lines, last = told.read().splitlines()
            probes += [Probe(*json.loads(line)) for line in lines]
            calls += int(last)
        return probes, calls

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process, told in zip(self._processes, self._told, strict=True):
            process.kill()
            process.wait()
            told.close()
            if process.stdin is not None:
                process.stdin.close()


def most_at_once(probes: list[Probe]) -> int:
    """Return the most probes of one half-open state that ran at the same time."""
    moments: dict[tuple[str, str, int], list[tuple[float, int]]] = defaultdict(list)
    for probe in probes:
        place = (probe.service, probe.epoch, probe.generation)
        moments[place] += [(probe.begun, 1), (probe.ended, -1)]
    most = 0
    for changes in moments.values():
        running = 0
        for _, change in sorted(changes):
            running += change
            most = max(most, running)
    return most


def _work(url: str, prefix: str, circuits: int, number: int) -> None:
    from bb5_breaker import CircuitBreakerOpenError

    from .workers_circuit import ServiceFailed, make_breaker

    settings = {"store_timeout": 0.5, "store_retry_interval": 0.25}
    rules: dict[str, Any] = {
        "failure_threshold": 2,
        "success_threshold": 2,
        "timeout_seconds": 0.1,
        "reset_timeout": 0.0,
        "half_open_max_calls": _PLACES,
        "probe_lease": 2.0,
    }
    breakers = [
        make_breaker(url, prefix, f"svc-{each}", settings, **rules) for each in range(circuits)
    ]
    chance, calls = random.Random(number), 0
    over = threading.Event()

    def await_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=await_end, daemon=True).start()
    while not over.is_set():
        breaker = chance.choice(breakers)
        block = breaker.protect()
        try:
            block.__enter__()
        except CircuitBreakerOpenError:
            time.sleep(0.005)
            continue
        permit, begun = block._leave, time.monotonic()
        assert permit is not None
        time.sleep(chance.uniform(0.0, 0.005))
        ended = time.monotonic()
        error = ServiceFailed("failed") if chance.random() < 0.3 else None
        block.__exit__(type(error) if error else None, error, None)
        calls += 1
        if permit.token is not None and not permit.epoch.startswith(_ALONE):
            probe = (breaker.service_id, permit.epoch, permit.generation, begun, ended)
            print(json.dumps(probe))
    print(calls)


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
