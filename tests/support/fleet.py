"""The servers that the tests of one run share: one a kind, started when first needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .kinds import ServerKind
from .running import RunningServer
from .servers import start


class HarmedServerError(AssertionError):
    """A test left a shared server dead or frozen."""


class Fleet:
    """Shared servers, lent to one test after another."""

    def __init__(self) -> None:
        self._servers: dict[ServerKind, RunningServer] = {}
        # By the names of kinds, so that processes can tell each other.
        self.versions: dict[str, str] = {}
        self.tests: Counter[str] = Counter()

    @contextmanager
    def lend(self, kind: ServerKind) -> Iterator[RunningServer]:
        """Give a test the server of that kind, and look at how it comes back.

        Raises:
            HarmedServerError: it does not answer any more; the next test gets a new one.
        """
        server = self._servers.get(kind) or self._start(kind)
        self.tests[kind.name] += 1
        yield server
        if not server.answers():
            self._servers.pop(kind).stop()
            raise HarmedServerError(
                f"the test left the shared {kind.name} dead or frozen; "
                "a test that harms a server must start() its own"
            )

    def account(self) -> dict[str, tuple[str, int]]:
        """Return the version and the number of tests of each server, by the name of its kind."""
        return {name: (version, self.tests[name]) for name, version in self.versions.items()}

    def include(self, account: Mapping[str, tuple[str, int]]) -> None:
        """Add what another process ran."""
        for name, (version, tests) in account.items():
            self.versions[name] = version
            self.tests[name] += tests

    def stop(self) -> None:
        """End all servers."""
        while self._servers:
            self._servers.popitem()[1].stop()

    def _start(self, kind: ServerKind) -> RunningServer:
        server = self._servers[kind] = start(kind)
        self.versions[kind.name] = server.reported_version()
        return server
