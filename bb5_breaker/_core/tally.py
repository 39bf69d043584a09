"""Successes that gather in the process until they are reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, final
from weakref import ReferenceType

from bb5_breaker.state import CircuitState

if TYPE_CHECKING:
    from bb5_breaker._core.local_view import LocalView

__all__ = ["EXPIRED", "Lease", "Pending", "Tally"]

_NEVER: Final = 1 << 62


class Lease:
    """Until when views may be believed, in monotonic seconds; one for all of a connection."""

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until


# What nothing is believed by.
EXPIRED: Final = Lease(float("-inf"))


@dataclass(frozen=True, slots=True)
class Pending:
    """Successes to report.

    Args:
        tally: Where they were counted.
        count: How many, at least 1.
        age_ms: Milliseconds since the last of them ended.
    """

    tally: Tally
    count: int
    age_ms: int


@final
class Tally:
    """Leave to run calls of one closed state, and the count of those that succeeded.

    The count only ever grows, so that ``count += 1`` by any thread is all that a call has to do;
    what was reported grows behind it. The interpreter switches threads only at calls and jumps
    back, so the statement is never torn; a build without a global lock asks the store instead.

    Args:
        view: The view that let the calls through; weakly, so that no cycle keeps a store's
            connections open that nobody uses any more.
        generation: Number of that state.
        epoch: Life of the circuit; empty while it is not stored.
        lease: Until when further calls may run on it.
    """

    __slots__ = (
        "_view",
        "count",
        "epoch",
        "generation",
        "last",
        "lease",
        "mark",
        "retired",
        "taken",
    )

    # As a permit has them.
    state: ClassVar[CircuitState] = CircuitState.CLOSED
    token: ClassVar[None] = None

    def __init__(
        self, view: ReferenceType[LocalView] | None, generation: int, epoch: str, lease: Lease
    ) -> None:
        self._view = view
        self.generation = generation
        self.epoch = epoch
        self.lease = lease
        self.count = 0
        self.taken = 0
        # When the last success ended, in monotonic seconds.
        self.last = 0.0
        # The count at which somebody must see to the report; any, while nobody watches.
        self.mark = 0
        self.retired = False

    @staticmethod
    def nowhere() -> Tally:
        """Return one on which no call ever runs."""
        return Tally(None, 0, "", EXPIRED)

    @property
    def view(self) -> LocalView | None:
        """The view; None once the process was configured anew and nobody uses it."""
        return self._view() if self._view is not None else None

    def take(self, now: float) -> Pending | None:
        """Return what is to be reported now; None without anything. By one thread at a time."""
        count = self.count - self.taken
        if not count:
            return None
        self.taken += count
        return Pending(self, count, max(0, int((now - self.last) * 1000)))

    def watch(self, size: int) -> None:
        """Somebody sees to the report, and wants to be told of ``size`` more successes."""
        if not self.retired:
            self.mark = self.taken + size

    def hand_over(self, size: int) -> Tally:
        """Let no further call run on this one, and return another with what is to be reported."""
        self.lease = EXPIRED
        other = Tally(self._view, self.generation, self.epoch, EXPIRED)
        other.count, other.last = self.count - self.taken, self.last
        self.taken += other.count
        other.watch(size)
        return other

    def retire(self) -> None:
        """The state is over: what its calls come to no longer counts."""
        self.retired = True
        self.lease = EXPIRED
        self.mark = _NEVER
