"""What one history draws for itself: the rules, and how badly things go."""

from __future__ import annotations

import random

from bb5_breaker._core.policy import Circuit, Policy

__all__ = ["HEARTBEAT", "Weather", "draw_circuit"]

# Seconds between PINGs; all other times are chosen around it.
HEARTBEAT = 1.0


def draw_circuit(rng: random.Random) -> Circuit:
    """Return a circuit with drawn rules."""
    policy = Policy(
        failure_threshold=rng.choice((1, 2, 2, 3, 3, 4, 6)),
        timeout_ms=rng.choice((0, 200, 500, 1000, 3000, 8000)),
        success_threshold=rng.randint(1, 3),
        half_open_max_calls=rng.randint(1, 3),
        reset_timeout_ms=rng.choice((0, 0, 500, 2000)),
        sliding_window_size=rng.choice((3, 10, 100)),
        lease_ms=rng.choice((300, 700, 1500)),
    )
    return Circuit("svc", policy)


class Weather:
    """How long messages take, how many are lost, and how the service fares.

    Args:
        rng: Draws everything.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.latency = rng.choice((0.001, 0.01, 0.05, 0.15))
        self.spikes = rng.choice((0.0, 0.02, 0.1))
        self.losses = rng.choice((0.0, 0.0, 0.03, 0.15))
        self.repeats = rng.choice((0.0, 0.05, 0.2))
        self.patience = rng.choice((0.4, 1.0))
        self.switches = rng.choice((0.0, 0.1, 0.3))
        self.disturbances = rng.choice((0.0, 0.5, 1.0, 2.0))
        self.all_fail = rng.random() < 0.15
        self.failing = 1.0 if self.all_fail else rng.choice((0.02, 0.3, 0.9))
        self.longest_call = rng.choice((0.05, 0.5, 2.5))

    def delay(self) -> float:
        """Return how long a message is under way."""
        delay = self._rng.expovariate(1.0) * self.latency
        if self.spikes and self._rng.random() < self.spikes:
            delay += self._rng.uniform(0.0, 2.5 * HEARTBEAT)
        return delay

    def is_lost(self) -> bool:
        """Tell whether a message is lost."""
        return self.losses > 0.0 and self._rng.random() < self.losses

    def is_repeated(self) -> bool:
        """Tell whether a request arrives twice."""
        return self.repeats > 0.0 and self._rng.random() < self.repeats

    def is_switched(self) -> bool:
        """Tell whether another thread runs now."""
        return self.switches > 0.0 and self._rng.random() < self.switches

    def switched_for(self) -> float:
        """Return for how long other threads run."""
        return self._rng.choice((0.001, 0.05, 0.4)) * self._rng.random()

    def turn(self) -> None:
        """Let the service become better or worse."""
        if not self.all_fail:
            self.failing = self._rng.choice((0.0, 0.1, 0.5, 0.95))

    def calm_down(self) -> None:
        """From now on nothing goes wrong."""
        self.latency = min(self.latency, 0.02)
        self.spikes = self.losses = self.repeats = self.switches = self.disturbances = 0.0
        self.longest_call = 0.05
        self.failing = 0.0
        self.all_fail = False
