"""What the server itself did, from its MONITOR: places of probes, transitions, settled probes."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import redis

from bb5_breaker._store.scripts import SCRIPTS
from tests.support.servers import RunningServer

from .rules import LEASE, PLACES, SERVICES

__all__ = ["Transition", "Witness"]

_LINE = re.compile(r"^(\d+\.\d+) \[\d+ (.*?)\] (.*)$", re.DOTALL)
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SETTLE = SCRIPTS["settle"]
_WRITES = {"HSET", "XADD", "HINCRBY", "PUBLISH"}


@dataclass(frozen=True, slots=True)
class Transition:
    """One that the server made.

    Args:
        at: Unix time in seconds.
        life: Counts how often the server lost its memory before.
        service: The circuit.
        state: The state entered.
        previous: The state before.
        generation: Its number.
        epoch: Life of the circuit.
        reason: Why.
        until: End of an open period; 0 without.
    """

    at: float
    life: int
    service: str
    state: str
    previous: str
    generation: int
    epoch: str
    reason: str
    until: float


@dataclass(slots=True)
class _Circuit:
    """What is known of one: the ends of its leases, and its state since the last loss."""

    leases: dict[str, int] = field(default_factory=dict)
    state: str = ""


class Witness:
    """Listens to all that a server does until it is closed, through its restarts.

    Args:
        server: The server.
        prefix: Prefix of the keys to look at.
    """

    def __init__(self, server: RunningServer, prefix: str) -> None:
        self.transitions: list[Transition] = []
        self.violations: list[str] = []
        self.losses: list[tuple[float, str]] = []
        self.probes = self.most_at_once = self.stale = self.gaps = 0
        self.life = 0
        self._server = server
        self._prefix = prefix
        self._circuits = {name: _Circuit() for name in SERVICES}
        self._service_of = {f"{prefix}:{{{name}}}": name for name in SERVICES}
        # The token of a late report whose script is just running.
        self._late: str | None = None
        self._is_over = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness")
        self._thread.start()

    def await_readiness(self) -> None:
        """Return when it listens, also after the server was restarted."""
        if not self._ready.wait(20.0):
            raise RuntimeError("MONITOR does not begin")

    def note_restart(self, *, is_empty: bool) -> None:
        """The server is about to be ended, and to come back; the caller waits for readiness."""
        self._ready.clear()
        if is_empty:
            self._lose("restarted empty", time.time())

    def catch_up(self) -> None:
        """Take the places as the server has them, while nobody else is connected."""
        with self._server.client() as client:
            for key, service in self._service_of.items():
                held = client.zrange(f"{key}:probes", 0, -1, withscores=True)
                self._circuits[service].leases = {token.decode(): int(ends) for token, ends in held}

    def find_probing(self) -> set[int]:
        """Return the process ids of those that hold places now."""
        now = time.time() * 1000
        return {
            # host:pid:nonce#number
            int(token.split(":")[-2])
            for circuit in self._circuits.values()
            for token, ends in list(circuit.leases.items())
            if ends > now
        }

    def close(self) -> None:
        """Stop listening."""
        self._is_over = True
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over:
            with (
                suppress(redis.RedisError, OSError),
                self._server.client(socket_timeout=0.2) as client,
            ):
                connection = client.connection_pool.get_connection()
                try:
                    connection.send_command("MONITOR")
                    connection.read_response()
                    self._ready.set()
                    self._listen(connection)
                finally:
                    connection.disconnect()
            self.gaps += 1
            time.sleep(0.005)

    def _listen(self, connection: redis.Connection) -> None:
        while not self._is_over:
            # A time-out is no fault: the server is quiet, or frozen.
            if not connection.can_read(0.2):
                continue
            line = connection.read_response()
            self._take(line.decode(errors="replace") if isinstance(line, bytes) else str(line))

    def _take(self, line: str) -> None:
        match = _LINE.match(line)
        if match is None:
            return
        at, client, rest = float(match[1]), match[2], match[3]
        words = _WORD.findall(rest)
        if not words:
            return
        name = words[0].upper()
        if client != "lua":
            self._take_request(at, name, words)
        elif name == "XADD":
            self._take_transition(at, words)
        elif name == "ZADD" and words[1].endswith(":probes") and words[2] != "XX":
            self._take_place(at, words)
        elif name == "ZREM" and words[1].endswith(":probes"):
            self._leases(words[1]).pop(words[2], None)
        if client == "lua" and self._late is not None and name in _WRITES:
            self.violations.append(f"a late result changed something: {self._late}: {line[:200]}")

    def _take_request(self, at: float, name: str, words: list[str]) -> None:
        self._late = None
        if name in {"FLUSHALL", "FLUSHDB"}:
            self._lose(name, at)
        elif name == "DEL":
            for key in words[1:]:
                self._take_deletion(at, key)
        elif name in {"EVALSHA", "EVAL"} and _is_settle(words[1]):
            count = int(words[2])
            argv = dict(zip(_SETTLE.argv, words[3 + count :], strict=False))
            leases = self._leases(words[3 + _SETTLE.keys.index("probes")])
            if leases.get(argv["token"], 0) <= at * 1000 - 2:
                self.stale += 1
                self._late = argv["token"]

    def _take_deletion(self, at: float, key: str) -> None:
        if key in self._service_of:
            self._circuits[self._service_of[key]].state = ""
            self.losses.append((at, self._service_of[key]))
        elif key.endswith(":probes"):
            self._leases(key).clear()

    def _take_place(self, at: float, words: list[str]) -> None:
        key, ends, token = words[1], int(words[2]), words[3]
        now = ends - int(LEASE * 1000)
        circuit = self._circuits[self._service_of[key.removesuffix(":probes")]]
        leases = circuit.leases
        held = {name for name, end in leases.items() if end > now}
        if token not in held:
            self.probes += 1
            self.most_at_once = max(self.most_at_once, len(held) + 1)
            places = PLACES[self._service_of[key.removesuffix(":probes")]]
            if len(held) >= places:
                self.violations.append(
                    f"{len(held) + 1} probes at once with {places} places at {at:.3f}: "
                    f"{token} beside {sorted(held)}"
                )
            if circuit.state not in {"", "half_open"}:
                self.violations.append(f"a probe while {circuit.state} at {at:.3f}: {token}")
        leases[token] = ends

    def _take_transition(self, at: float, words: list[str]) -> None:
        # XADD key MAXLEN ~ n id field value ...
        fields = dict(zip(words[6::2], words[7::2], strict=False))
        self._circuits[fields["service"]].state = fields["state"]
        self.transitions.append(
            Transition(
                at,
                self.life,
                fields["service"],
                fields["state"],
                fields["previous_state"],
                int(fields["generation"]),
                fields["epoch"],
                fields["reason"],
                int(fields["open_until_ms"]) / 1000,
            )
        )

    def _lose(self, why: str, at: float) -> None:
        self.life += 1
        for name, circuit in self._circuits.items():
            circuit.leases.clear()
            circuit.state = ""
            self.losses.append((at, name))

    def _leases(self, key: str) -> dict[str, int]:
        service = self._service_of.get(key.removesuffix(":probes"))
        return self._circuits[service].leases if service else {}


def _is_settle(script: str) -> bool:
    return script == _SETTLE.sha or script.startswith(_SETTLE.source[:40].partition("\n")[0])
