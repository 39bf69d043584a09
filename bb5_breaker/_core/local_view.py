"""What a process knows of a circuit without asking, and for how long it may go by it.

Time comes in as monotonic seconds of this process. What changes a view is called by one thread at
a time; its holder takes care of that. Reading and deciding needs no lock: each step reads one
attribute that is replaced as a whole.
"""

from __future__ import annotations

from dataclasses import replace
from weakref import ref

from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView
from bb5_breaker._core.seen import Seen, end_of, facts_of
from bb5_breaker._core.tally import EXPIRED, Lease, Pending, Tally
from bb5_breaker.state import CircuitState

__all__ = ["LocalView"]


class LocalView:
    """One circuit in the eyes of one process.

    Args:
        circuit: The service and its rules.
        origin: Where its calls are reported; the core only keeps it.
        now: The present.
    """

    __slots__ = (
        "__weakref__",
        "_trusted_after",
        "_watch",
        "circuit",
        "confirmed_at",
        "lease",
        "origin",
        "rejected",
        "rejected_mark",
        "rejected_taken",
        "seen",
        "subscription",
    )

    def __init__(self, circuit: Circuit, origin: object, now: float) -> None:
        self.circuit = circuit
        self.origin = origin
        self.seen: Seen | None = None
        self.confirmed_at = now
        # What the view may be believed by now, and what it will be believed by as soon as
        # the store answers a question that was asked later than the mark.
        self.lease = EXPIRED
        self.subscription = EXPIRED
        self._trusted_after = now
        # Rejections only ever grow; what was reported of them grows behind.
        self.rejected = 0
        self.rejected_taken = 0
        self.rejected_mark = 0
        self._watch = 0

    def decide(self, now: float) -> Tally | Seen | None:
        """Return what a call gets: a tally to run on, the state that rejects it, or None: ask."""
        seen = self.seen
        if seen is None or now >= self.lease.until:
            return None
        if seen.tally is not None:
            return seen.tally
        return seen if now < seen.ends_at else None

    def subscribe(self, lease: Lease, now: float) -> None:
        """From now on pushes arrive; an answer to a later question may be believed by ``lease``."""
        self.subscription = lease
        self.disown(now)

    def disown(self, now: float) -> None:
        """Ask again before the next call: something is amiss with what is known."""
        self._trusted_after = now
        self._entrust(EXPIRED)

    def learn(self, told: CircuitView, asked_at: float, now: float) -> None:
        """Take the store's answer to a question.

        Args:
            told: The answer.
            asked_at: When the question was sent. An answer to one that is older than what is
                known can not replace it, whichever thread comes last.
            now: The present.
        """
        seen = self.seen
        if seen is not None and seen.is_newer(told, asked_at):
            return
        if seen is None or not seen.is_same(told) or seen.lacks_end(told, now):
            self._adopt(told, now)
        self.confirmed_at = now
        if seen is not None and seen.makes_doubtful(told, asked_at):
            self.disown(now)
        elif asked_at > self._trusted_after:
            self._entrust(self.subscription)

    def hear(self, told: CircuitView, now: float) -> None:
        """Take a transition that was pushed.

        It is taken over only when it is the very next one. After a gap, or from another life of
        the circuit, it only makes the next call ask: a message is never believed over the store.
        """
        seen = self.seen
        if seen is None:
            # A question is perhaps under way that was answered before this happened.
            self._trusted_after = now
            return
        held = seen.told
        ahead = told.generation - held.generation
        if held.epoch not in ("", told.epoch) or ahead > 1:
            self.disown(now)
        elif ahead == 1 or seen.lacks_end(told, now):
            self._adopt(told, now)
            self.confirmed_at = now

    def arm(self) -> None:
        """Let calls run on the tally for as long as the view is believed."""
        self._entrust(self.lease)

    def disarm(self) -> None:
        """Have the next call come by :meth:`decide`, whoever holds the tally.

        The view goes on with another one: armed again by a breaker that may still run on it,
        it must not serve one that may not.
        """
        seen, tally = self.seen, self._tally
        if seen is not None and tally is not None:
            self.seen = replace(seen, tally=tally.hand_over(self._watch))

    def renew(self, subscription: Lease, now: float) -> None:
        """Know nothing and have nothing to report, as in the child of a fork."""
        tally = self._tally
        if tally is not None:
            tally.retire()
        self.seen = None
        self.rejected_taken = self.rejected
        self.watch(0)
        self.subscribe(subscription, now)

    def take(self, now: float) -> tuple[Pending | None, int]:
        """Return the successes and the number of rejections that are to be reported now."""
        tally = self._tally
        rejected = self.rejected - self.rejected_taken
        self.rejected_taken += rejected
        return (tally.take(now) if tally is not None else None), rejected

    def watch(self, size: int) -> None:
        """Somebody sees to the reports, and wants to be told of ``size`` more outcomes."""
        self._watch = size
        self.rejected_mark = self.rejected_taken + size
        tally = self._tally
        if tally is not None:
            tally.watch(size)

    @property
    def is_settled(self) -> bool:
        """True when there is nothing to report."""
        tally = self._tally
        return self.rejected == self.rejected_taken and (
            tally is None or tally.count == tally.taken
        )

    @property
    def _tally(self) -> Tally | None:
        return self.seen.tally if self.seen is not None else None

    def _entrust(self, lease: Lease) -> None:
        self.lease = lease
        tally = self._tally
        if tally is not None:
            tally.lease = lease

    def _adopt(self, told: CircuitView, now: float) -> None:
        before, tally, lease = self._tally, self._tally_for(told), self.lease
        # In this order: a signal's handler may raise between any two lines, and then nothing
        # is believed, least of all the state that is over.
        self.lease = EXPIRED
        if before is not None and before is not tally:
            before.retire()
        self.seen = Seen(told, facts_of(told), now, end_of(told, now), tally)
        self._entrust(lease)

    def _tally_for(self, told: CircuitView) -> Tally | None:
        if told.state is not CircuitState.CLOSED:
            return None
        seen = self.seen
        if seen is not None and seen.tally is not None and seen.is_born(told):
            # Calls that run were let through before the circuit had a name.
            seen.tally.epoch = told.epoch
            return seen.tally
        tally = Tally(ref(self), told.generation, told.epoch, EXPIRED)
        tally.watch(self._watch)
        return tally
