"""One random history of a fleet, made from its seed alone."""

from __future__ import annotations

import random
from collections import Counter

from .accounts import check_agreement, check_books
from .calling import Caller
from .calls import Violation
from .disturbances import Disturbances
from .network import Network
from .process import Process
from .store import SimulatedStore
from .timeline import Timeline
from .weather import HEARTBEAT, Weather, draw_circuit

__all__ = ["History", "run_history"]

_NO_LIMIT = 1 << 30
# All calls have ended, what was lost is given up, and who was cut off has asked again.
_REST = 3.0 * HEARTBEAT
_SETTLING = 0.7


class History:
    """A fleet whose life is drawn from a seed.

    Args:
        seed: Decides everything.
        verbose: Keep an account of what happens.
    """

    def __init__(self, seed: int, verbose: bool = False) -> None:
        rng = self._rng = random.Random(seed)
        self.timeline = Timeline(verbose)
        self._weather = Weather(rng)
        self._circuit = draw_circuit(rng)
        self._store = SimulatedStore(self.timeline, self._circuit, rng.uniform(0.99, 1.01))
        network = Network(self.timeline, self._weather, self._store)
        self._processes = [
            Process(number, network, self._circuit, rng) for number in range(rng.randint(2, 8))
        ]
        self._callers = [Caller(process, rng) for process in self._processes]
        self._disturbances = Disturbances(self.timeline, self._weather, self._processes, rng)
        self._most = rng.randint(80, 200)

    @property
    def happened(self) -> Counter[str]:
        """How often each kind of thing happened."""
        return self._store.observer.happened

    def run(self) -> None:
        """Let it happen.

        Raises:
            Violation: An invariant does not hold.
        """
        self.timeline.say(vars(self._weather), self._circuit.policy)
        self._begin()
        self.timeline.run(60.0, self._most)
        if self._rng.random() < 0.25:
            self._check_survivor(self._rng.choice(self._processes))
        self._end_well()

    def _begin(self) -> None:
        pause = self._rng.choice((0.1, 0.5, 1.0))
        for process, caller in zip(self._processes, self._callers, strict=True):
            # As when another circuit of the process was called before.
            if self._rng.random() < 0.3:
                process.feed.wake()
            for _ in range(self._rng.randint(1, 3)):
                process.resume(caller.call_on_and_on(pause))
        self._disturbances.begin()

    def _check_survivor(self, survivor: Process) -> None:
        """With all others dead, one process alone gets leave from the store."""
        if not survivor.is_alive:
            return
        caller = self._callers[survivor.number]
        self._disturbances.kill_all_but(survivor)
        longest = self._weather.longest_call
        self._disturbances.end()
        for other in self._callers:
            other.stop()
        present, policy = self._store.look(), self._circuit.policy
        open_ms = max(0, present.until_ms - present.now_ms)
        # What runs may hold places until it ends; a failure among it opens once more.
        again_ms = policy.timeout_ms + policy.reset_timeout_ms
        bound = (open_ms + again_ms + 2 * policy.lease_ms) / 1000 + longest + 3.5 * HEARTBEAT
        until, before = self.timeline.now + bound, caller.admitted
        while caller.admitted == before and not self._runs_freely(survivor):
            if self.timeline.now >= until:
                raise Violation("a: never wedged", f"{survivor.name} gets no leave: {present}")
            survivor.resume(caller.run_call())
            self.timeline.run(self.timeline.now + 0.1, _NO_LIMIT)

    def _runs_freely(self, process: Process) -> bool:
        return process.clock() < process.tally.lease.until

    def _end_well(self) -> None:
        """After quiet and one more call each, all agree and nothing is missing."""
        self._disturbances.end()
        for caller in self._callers:
            caller.stop()
        self.timeline.run(self.timeline.now + _REST, _NO_LIMIT)
        self._call_once_each()
        # Who is subscribed by now asks once more, and goes by the answer.
        listening = [process for process in self._processes if process.feed.connection]
        before = self._store.observer.generation
        self._call_once_each()
        is_calm = self._store.observer.generation == before
        check_agreement(self._store, self._processes, listening, is_calm)
        check_books(self._store, self._processes, self._callers)

    def _call_once_each(self) -> None:
        for process, caller in zip(self._processes, self._callers, strict=True):
            process.resume(caller.run_call())
        self.timeline.run(self.timeline.now + _SETTLING, _NO_LIMIT)


def run_history(seed: int) -> Counter[str]:
    """Run one history and return how often each kind of thing happened in it.

    Raises:
        Violation: An invariant does not hold; with the account of the history.
    """
    history = History(seed)
    try:
        history.run()
    except Exception as error:
        raise Violation(f"seed {seed}", f"{error}\n{account_of(seed)}") from error
    return history.happened


def account_of(seed: int) -> str:
    """Return what happens in a history, up to its end or its violation."""
    history = History(seed, verbose=True)
    try:
        history.run()
    except Exception as error:
        history.timeline.say("!", error)
    return "\n".join(history.timeline.lines)
