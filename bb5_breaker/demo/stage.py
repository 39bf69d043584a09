"""The stage of the demo: its server, its service, its workers; set up and cleared away."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bb5_breaker._core.commands import Snapshot
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot
from bb5_breaker._store import embedded
from bb5_breaker._store.history import read_history
from bb5_breaker._store.opening import open_store
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.configuration import Settings
from bb5_breaker.demo import DemoStuck
from bb5_breaker.demo.children import Child
from bb5_breaker.demo.evidence import Evidence
from bb5_breaker.demo.feed import listening
from bb5_breaker.demo.journal import Journal
from bb5_breaker.demo.records import Mode
from bb5_breaker.demo.rules import CONFIG, SERVICE, WORKERS
from bb5_breaker.demo.signals import shielded

__all__ = ["Stage"]

_START_SECONDS: Final = 20.0
_STORE_TIMEOUT: Final = 2.0
_PAUSE: Final = 0.03
# A socket's path must be short; a long TMPDIR leaves no room for it.
_LONGEST_TMPDIR: Final = 60


class Stage:
    """All that runs in a demo, from entering to leaving. For one thread.

    Args:
        watch: Called with the stage over and over while it waits; shows how things are.
    """

    def __init__(self, watch: Callable[[Stage], None]) -> None:
        self.journal = Journal(WORKERS)
        self._watch = watch
        self._circuit = Circuit.of(SERVICE, CONFIG)
        self._all = ExitStack()
        self._children: list[Child] = []
        self.pids: dict[int, int] = {}

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clear()

    def snapshot(self) -> CircuitSnapshot:
        """Return the circuit as it is stored."""
        reply = self.store.run(Snapshot(self._circuit))
        assert isinstance(reply, CircuitSnapshot)
        return reply

    def set_mode(self, mode: Mode) -> None:
        """Have the service behave in another way; returns when it does."""
        known = len(self.journal.modes)
        self._children[0].tell(mode.value)
        self.wait(lambda: len(self.journal.modes) > known, 10.0, f"the service turns {mode.value}")

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition.

        Raises:
            DemoStuck: It did not come true in time, or a process ended by itself.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise DemoStuck(f"not within {seconds:g} s: {what}")
            for child in self._children:
                if child.has_ended:
                    raise DemoStuck(f"{child.name} ended by itself")
            self._watch(self)
            time.sleep(_PAUSE)

    def dwell(self, seconds: float) -> None:
        """Let things go on for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._watch(self)
            time.sleep(_PAUSE)

    def dismiss(self, troubles: list[str]) -> Evidence:
        """End the workers and the service, and return all that was seen.

        Args:
            troubles: What went wrong so far.
        """
        self._dismiss_workers()
        for child in reversed(self._children):
            child.end()
        complaints = [
            f"{child.name} said {child.complaint!r}" for child in self._children if child.complaint
        ]
        reconnects = self._bus.stats.reconnects
        deaf = [f"the event bus lost its connection {reconnects} times"] if reconnects else []
        journal = self.journal
        return Evidence(
            pids=self.pids,
            modes=journal.modes,
            calls=journal.calls,
            requests=journal.requests,
            events=journal.events,
            history=read_history(self.store, SERVICE, 100),
            stored=self.snapshot(),
            marks=journal.marks,
            troubles=[*troubles, *complaints, *deaf],
        )

    def _set_up(self) -> None:
        directory = self._make_directory()
        self.store = self._start_store(directory)
        self._bus = self._all.enter_context(listening(self.store, self.journal.hear))
        self._start("the service", "service", [], directory)
        self.wait(lambda: len(self.journal.ports) == 1, _START_SECONDS, "the service is up")
        self.port = self.journal.ports[0]
        for number in range(1, WORKERS + 1):
            arguments = [str(number), self.store.address, str(self.port)]
            worker = self._start(f"worker {number}", "worker", arguments, directory)
            self.pids[number] = worker.pid

    def _clear(self) -> None:
        with shielded():
            self._dismiss_workers()
            self._all.close()

    def _dismiss_workers(self) -> None:
        # All at once first, as each ends its call. The service came first and ends last.
        for child in self._children[1:]:
            child.dismiss()

    def _make_directory(self) -> Path:
        base = tempfile.gettempdir()
        parent = base if len(base) <= _LONGEST_TMPDIR else "/tmp"
        directory = Path(tempfile.mkdtemp(prefix="bb5-demo-", dir=parent))
        self._all.callback(shutil.rmtree, directory, ignore_errors=True)
        return directory

    def _start_store(self, directory: Path) -> RedisStore:
        """Start an embedded server that nobody else uses."""
        home = directory / "redis"
        self._all.callback(embedded.stop, home, force=True)
        server = embedded.acquire(home)
        self._all.callback(embedded.release, home)
        store = open_store(server.url, Settings().rules, _STORE_TIMEOUT)
        assert isinstance(store, RedisStore)
        self._all.callback(store.close)
        return store

    def _start(self, name: str, module: str, arguments: list[str], directory: Path) -> Child:
        log = directory / f"{name.replace(' ', '-')}.log"
        child = Child(name, f"{__package__}.{module}", arguments, log, self.journal.take)
        self._children.append(child)
        return self._all.enter_context(child)
