"""The views that a process holds of the circuits of one store."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol
from weakref import ref

from bb5_breaker._core.local_view import LocalView
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitView
from bb5_breaker._core.tally import EXPIRED, Lease, Pending, Tally
from bb5_breaker._shell.news import News
from bb5_breaker._shell.remembered import Remembered
from bb5_breaker._store.forks import renew_in_children
from bb5_breaker.state import CircuitState

__all__ = ["Board"]

# A view that nothing has confirmed for so long makes the next call ask, though no push was
# missed as far as anybody can tell. Each report of a call that counts confirms it.
GREATEST_AGE: Final = 30.0


class Troubles(Protocol):
    """What is amiss with the store."""

    def of(self, service: str) -> object:
        """Return what it is that concerns a circuit; None for nothing."""


class _NoTroubles:
    """Nothing ever is."""

    def of(self, service: str) -> object:
        return None


class _Held(ref[LocalView]):
    """A view, held weakly: it lives as long as a breaker, or successes that are not reported."""

    __slots__ = ("service",)
    service: str


class _Service:
    """What is held of one service: its views, one for each set of rules, and its subscription."""

    __slots__ = ("lease", "views")

    def __init__(self) -> None:
        self.views: tuple[_Held, ...] = ()
        self.lease: Lease | None = None

    def living(self) -> Iterator[LocalView]:
        for held in self.views:
            view = held()
            if view is not None:
                yield view


class Board:
    """Every change of a view goes through here, one at a time. Thread-safe.

    The lock is held for microseconds, never while a user's call runs or the store is asked. In
    the child of a fork nothing is known and nothing is pending: what the parent has not
    reported yet is the parent's to report.

    Args:
        standing: What all views are believed by where nobody else can change the circuits; None
            where a feed subscribes each service.
        clock: Monotonic seconds; replaced in tests.
        keep: Seconds for which the store keeps a circuit that nobody uses.
    """

    def __init__(
        self,
        standing: Lease | None = None,
        clock: Callable[[], float] = time.monotonic,
        keep: float = float("inf"),
    ) -> None:
        self.remembered = Remembered(clock, keep)
        # Who waits for a circuit to change.
        self.news = News()
        # Told each word of a store, with the time of its arrival; by any thread.
        self.told: Callable[[str, CircuitView, float], object] = lambda *_: None
        # Told of a circuit about which the store perhaps knows less than this process.
        self.doubted: Callable[[str], object] = lambda _: None
        # Told of an open circuit that the store itself has not told of.
        self.rumoured: Callable[[str], object] = lambda _: None
        # Why this process guards calls alone. While there is anything no view of these is
        # believed, whatever reports of the background come to: calls must not run by the
        # store's word while their failures are told elsewhere.
        self.trouble: Troubles = _NoTroubles()
        self._standing = standing
        self._clock = clock
        self._services: dict[str, _Service] = {}
        self._wanted: dict[str, None] = {}
        self._gone: deque[str] = deque()
        self._lock = threading.Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """Know nothing, in the child of a fork."""
        self._lock = threading.Lock()
        now = self._clock()
        self._wanted = dict.fromkeys(self._services)
        for service in self._services.values():
            service.lease = self._standing
            for view in service.living():
                view.renew(self._standing or EXPIRED, now)

    def view_of(self, circuit: Circuit, origin: object) -> LocalView:
        """Return the view of a circuit; all breakers with the same rules share it.

        Args:
            circuit: The service and its rules.
            origin: Where its calls are reported.
        """
        with self._lock:
            if self._standing is not None:
                self._bury()
            service = self._services.get(circuit.service)
            if service is None:
                service = self._services[circuit.service] = _Service()
                service.lease = self._standing
                self._wanted[circuit.service] = None
            for view in service.living():
                if view.circuit.policy == circuit.policy:
                    return view
            view = LocalView(circuit, origin, self._clock())
            if service.lease is not None:
                view.subscribe(service.lease, self._clock())
            held = _Held(view, self._note_gone)
            held.service = circuit.service
            service.views = (*service.views, held)
            return view

    def learn(self, service: str, told: CircuitView, asked_at: float) -> None:
        """Take the store's answer to a question asked at a time; see :class:`LocalView`."""
        now = self._clock()
        if self.remembered.exceeds(service, told, asked_at):
            self.disown(service)
            self.doubted(service)
            return
        self.remembered.learn(service, told, asked_at, now)
        self.told(service, told, now)
        if service in self._services and self.trouble.of(service) is None:
            with self._lock:
                for view in self._living(service):
                    view.learn(told, asked_at, now)
            self.news.spread(service)

    def hear(self, service: str, told: CircuitView) -> None:
        """Take a transition that was pushed."""
        now = self._clock()
        self.remembered.hear(service, told, now)
        self.told(service, told, now)
        with self._lock:
            for view in self._living(service):
                view.hear(told, now)
        self.news.spread(service)
        if told.state is CircuitState.OPEN and not self.remembered.has_said(service, told):
            self.rumoured(service)

    def disown(self, service: str) -> None:
        """Have the next call of a service ask."""
        now = self._clock()
        with self._lock:
            for view in self._living(service):
                view.disown(now)
        self.news.spread(service)

    def disown_all(self) -> None:
        """Have the next call of every circuit ask."""
        self._disown_older(float("inf"))
        self.news.spread_all()

    def disown_old(self) -> None:
        """Have the next call ask where nothing confirmed the view for too long."""
        self._disown_older(self._clock() - GREATEST_AGE)

    def arm(self, view: LocalView) -> None:
        """Let calls run on the view's tally without coming here."""
        with self._lock:
            view.arm()

    def disarm(self) -> None:
        """Have the next call of each circuit come here, as its breaker may have another home."""
        with self._lock:
            for service in self._services.values():
                for view in service.living():
                    view.disarm()

    def take(self, view: LocalView, size: int) -> tuple[Pending | None, int]:
        """Return the successes and the number of rejections to report now.

        Args:
            view: The view that let them through or rejected them.
            size: How many more may gather before somebody is to be told.
        """
        with self._lock:
            taken = view.take(self._clock())
            view.watch(size)
            return taken

    def unwatch(self, view: LocalView) -> None:
        """Nobody looks from now on: the next outcome has to tell."""
        with self._lock:
            view.watch(0)

    def take_from(self, tally: Tally) -> Pending | None:
        """Return the successes of one tally to report now; None without any."""
        if tally.count == tally.taken:
            return None
        with self._lock:
            return tally.take(self._clock())

    @property
    def is_wanting(self) -> bool:
        """True when a service waits for its subscription."""
        return bool(self._wanted)

    def plan(self) -> tuple[list[str], list[str]]:
        """Return the services to subscribe now, and those that nobody needs any more."""
        with self._lock:
            buried = self._bury()
            wanted, self._wanted = list(self._wanted), {}
            return [name for name in wanted if name in self._services], buried

    def subscribe(self, service: str, lease: Lease) -> None:
        """The subscription of a service is in force; its views are believed by this lease."""
        now = self._clock()
        with self._lock:
            held = self._services.get(service)
            if held is None:
                return
            held.lease = lease
            for view in held.living():
                view.subscribe(lease, now)
        known = self.remembered.get(service)
        if known is not None and not known.is_closed:
            # While nothing was heard the server may have been another, or emptied.
            self.doubted(service)
        self.news.spread(service)

    def unsubscribe_all(self) -> None:
        """No subscription is in force any more."""
        with self._lock:
            self._wanted = dict.fromkeys(self._services)
            for service in self._services.values():
                service.lease = None
        self.news.spread_all()

    def _disown_older(self, moment: float) -> None:
        now = self._clock()
        with self._lock:
            for service in self._services.values():
                for view in service.living():
                    if view.confirmed_at < moment:
                        view.disown(now)

    def _living(self, service: str) -> Iterator[LocalView]:
        held = self._services.get(service)
        return held.living() if held is not None else iter(())

    def _note_gone(self, held: ref[LocalView]) -> None:
        # Called by the collector at any moment, so perhaps under the lock.
        assert isinstance(held, _Held)
        self._gone.append(held.service)

    def _bury(self) -> list[str]:
        """Let go of services without a view; return their names."""
        buried = []
        while self._gone:
            name = self._gone.popleft()
            service = self._services.get(name)
            if service is None:
                continue
            service.views = tuple(held for held in service.views if held() is not None)
            if not service.views:
                del self._services[name]
                buried.append(name)
        return buried
