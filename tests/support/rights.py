"""Users of a server who may do only what is on doctor's list, and all that they should manage."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from bb5_breaker import CircuitBreaker, CircuitBreakerConfig, configure
from bb5_breaker._bus.group_birth import GroupBirth
from bb5_breaker._bus.group_places import Place
from bb5_breaker._bus.group_streams import GroupStreams
from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    CountRejections,
    Extend,
    Forget,
    Look,
    Outcome,
    Promote,
    Record,
    Reset,
    Restore,
    Run,
    Settle,
    Snapshot,
)
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._core.replies import CircuitView, Reply
from bb5_breaker._doctor.deeds import rights_of
from bb5_breaker._doctor.role import Role
from bb5_breaker._shell.history import read_events
from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.entry_ids import BEGINNING
from bb5_breaker._store.history import read_probes
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.scripts import SCRIPTS
from bb5_breaker.exceptions import BlackBoxError
from bb5_breaker.state import CircuitState
from tests.support.buses import Buses, Heard, wait_until
from tests.support.running import RunningServer

PASSWORD = "least-secret"
_LOG = logging.getLogger("bb5_breaker")
_RULES = CircuitBreakerConfig(
    failure_threshold=4,
    timeout_seconds=0.02,
    success_threshold=1,
    reset_timeout=0.0,
    sliding_window_size=3,
    call_timeout=None,
)


def make_user(server: RunningServer, name: str, rights: Iterable[str]) -> str:
    """Make a user with these rights and no others.

    Returns:
        The URL of the server with the user's name and password.
    """
    with server.client() as client:
        words = ("reset", "on", f">{PASSWORD}", "resetchannels", *rights)
        client.execute_command("ACL", "SETUSER", name, *words)
    return url_of(server, name)


def url_of(server: RunningServer, name: str, password: str = PASSWORD) -> str:
    """Return the URL of a server, with a user's name and password in it."""
    scheme, _, place = server.admin_url.partition("://")
    return f"{scheme}://{name}:{password}@{place.rpartition('@')[2]}"


def make_role(server: RunningServer, role: Role, prefix: str, without: str | None = None) -> str:
    """Make a user for a role, perhaps without one of its rights; return the URL with it."""
    rights = [right for right in rights_of(role, prefix, 0) if right != without]
    # A user whose rights are changed loses connections; what listens still would complain.
    return make_user(server, f"least-{role}-{prefix}", rights)


def load_scripts(server: RunningServer) -> None:
    """Make the scripts known to the server, as somebody does who may."""
    with server.client() as client:
        for script in SCRIPTS.values():
            client.execute_command("SCRIPT", "LOAD", script.source)


class Complaints(logging.Handler):
    """What went wrong: errors that were raised, and all that was logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note what is logged."""
        self.texts.append(record.getMessage())

    def collect(self, deed: Callable[[], object]) -> None:
        """Do something, and note its error."""
        try:
            deed()
        except BlackBoxError as error:
            self.texts.append(error.message)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note what the library logs meanwhile."""
        before = _LOG.level
        _LOG.addHandler(self)
        _LOG.setLevel(logging.INFO)
        try:
            yield
        finally:
            _LOG.setLevel(before)
            _LOG.removeHandler(self)


class Exercise:
    """All that one user should manage, on circuits of its own.

    Args:
        server: The server.
        url: Its URL with the user's name.
        prefix: Of keys and channels.
    """

    def __init__(self, server: RunningServer, url: str, prefix: str) -> None:
        self.complaints = Complaints()
        self._server, self._url, self._prefix = server, url, prefix
        self._store = RedisStore(client_from_url(url, 5.0), StoreRules(prefix=prefix), "the server")
        self._circuit = Circuit.of("a", _RULES)
        self._keys = CircuitKeys.of(prefix, "a")

    def do(self, *parts: Callable[[], None]) -> list[str]:
        """Carry out parts, and return what went wrong."""
        with self.complaints.listening():
            for part in parts:
                self.complaints.collect(part)
        self._store.close()
        return self.complaints.texts

    def scripts(self) -> None:
        """Take a circuit through all its states, so that each command of the scripts is used."""
        leave = self._run(Admit(self._circuit, "t0"))
        for letters in ("s", "s", "f", "sf", "sfs", "fss", "ss", "f"):
            self._record(letters)
        # Runs that were deleted by hand are made up for.
        with self._server.client() as client:
            client.delete(self._keys.window)
        self._record("sfs")
        self._run(Clear(self._circuit))
        self._record("ffff")
        opened = self._run(Look(self._circuit))
        self._run(CountRejections(self._circuit, _epoch_of(opened), 2))
        wait_until(self._is_due)
        leave = self._run(Admit(self._circuit, "t1"))
        self._run(Admit(self._circuit, "t2"))
        self._run(Extend(self._circuit, _epoch_of(leave), "t1"))
        self._run(Snapshot(self._circuit))
        self._settle(leave, Outcome.FAILURE)
        wait_until(self._is_due)
        self._run(Promote(self._circuit))
        self._settle(self._run(Admit(self._circuit, "t3")), Outcome.SUCCESS, "t3")
        self._run(Reset(self._circuit))
        self._restore()
        self._record("f")

    def reads(self) -> None:
        """Read all there is to read."""
        collect, store = self.complaints.collect, self._store
        collect(lambda: store.run(Snapshot(self._circuit)))
        collect(lambda: read_events(store, store.list_services(), 10, None))
        collect(lambda: read_events(store, ["a"], 10, "beginning"))
        collect(lambda: read_probes(store, "a", 0))
        with self._server.client() as client:
            client.set(CircuitKeys.of(self._prefix, "foreign").circuit, "x", px=60_000)
        try:
            store.run(Snapshot(Circuit.of("foreign", _RULES)))
        except BlackBoxError as error:
            if "holds a string" not in error.message:
                raise

    def forgetting(self) -> None:
        """Delete the circuit, and take it out of the list."""
        self._run(Forget(self._circuit))
        self.complaints.collect(lambda: self._store.drop_service("a"))

    def feed(self) -> None:
        """Hear of a circuit, and no more when its breaker is gone."""
        configure(self._url, prefix=self._prefix, store_timeout=5.0, heartbeat_interval=0.05)
        breaker, other = CircuitBreaker("b", _RULES), CircuitBreaker("c", _RULES)
        breaker.call_result(int)
        other.call_result(int)
        self._await(lambda: self._listeners("b") == 1 and self._views_heard())
        del breaker
        gc.collect()
        self._await(lambda: self._listeners("b") == 0)
        del other

    def bus(self) -> None:
        """Hear of all circuits, publish, and listen no more."""
        buses, heard = Buses(self._url, self._prefix), Heard()
        try:
            bus = buses.connect(keyspace_notifications=False)
            bus.subscribe("circuit_breaker.*", heard, since="beginning")
            self._await(lambda: self._patterns() == 2)
            bus.unsubscribe("circuit_breaker.*", heard)
            self._await(lambda: self._patterns() == 1)
        finally:
            buses.close()

    def group(self) -> None:
        """Take a transition, leave it lying, claim it, and be done with it."""
        birth = GroupBirth(self._store, "pager", None)
        birth.settle()
        complain = self.complaints.texts.append
        streams = GroupStreams(self._store, "pager", birth, lambda error: complain(error.message))
        self._record("ffff")
        streams.survey(["a"])
        taken = streams.take("a")
        assert taken is not None or self.complaints.texts
        streams.survey(["a"])
        overdue = streams.find_overdue(Place("a", BEGINNING), 0)
        if taken is not None:
            streams.claim(overdue or taken.place, 0)
            streams.acknowledge(taken.place)
        streams.forget_names(["a"])

    def _record(self, letters: str) -> None:
        kinds = {"s": Outcome.SUCCESS, "f": Outcome.FAILURE}
        now = self._run(Look(self._circuit))
        generation = now.generation if isinstance(now, CircuitView) else 0
        runs = tuple(Run(kinds[letter], 1) for letter in letters)
        self._run(Record(self._circuit, generation, _epoch_of(now), runs, "OSError"))

    def _restore(self) -> None:
        """Give a circuit back to a store that lost it."""
        circuit = Circuit.of("lost", _RULES)
        self._run(Restore(circuit, 3, "e@1", CircuitState.OPEN, 1000, 10, 4, "OSError"))

    def _settle(self, leave: Reply | None, outcome: Outcome, token: str = "t1") -> None:
        generation = leave.generation if isinstance(leave, CircuitView) else 0
        command = Settle(self._circuit, generation, _epoch_of(leave), token, outcome, "OSError")
        self._run(command)

    def _run(self, command: Command) -> Reply | None:
        found: list[Reply] = []
        self.complaints.collect(lambda: found.append(self._store.run(command)))
        return found[0] if found else None

    def _is_due(self) -> bool:
        with self._server.client() as client:
            return not client.exists(self._keys.cooldown)

    def _await(self, condition: Callable[[], object]) -> None:
        wait_until(lambda: condition() or self.complaints.texts)

    def _listeners(self, service: str) -> int:
        return self._subscribers(f"{self._prefix}.{service}")

    def _views_heard(self) -> bool:
        return self._subscribers(f"{self._prefix}:views") == 1

    def _subscribers(self, channel: str) -> int:
        with self._server.client() as client:
            ((_, number),) = client.pubsub_numsub(channel)
        return int(number)

    def _patterns(self) -> int:
        with self._server.client() as client:
            return int(client.pubsub_numpat())


def _epoch_of(reply: Reply | None) -> str:
    return reply.epoch if isinstance(reply, CircuitView) else ""
