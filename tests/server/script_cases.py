"""Scripts called by hand: with wrong arguments, or on circuits whose keys somebody wrote to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from bb5_breaker._core.commands import Record
from bb5_breaker._store.codec import Codec
from bb5_breaker._store.decoding import read_snapshot, read_view
from bb5_breaker._store.scripts import SCRIPTS, Script
from bb5_breaker._store.senders import Sender
from tests.support.workers_circuit import Bench, Clock

__all__ = ["STATES", "Called", "Case", "Plan", "Stage", "plans"]

Words = tuple[str | int | bytes, ...]

STATES = ("none", "healthy", "closed", "open", "due", "half_open", "overdue")
# What makes one script do several things; all others have one plan.
_VARIANTS: dict[str, Sequence[dict[str, str]]] = {
    "admit": [{}, {"token": "t3"}, {"token": "t3", "purpose": "health_check"}],
    "record": [{}, {"outcome": "failure"}, {"outcome": "failure", "count": "3"}],
    "settle": [{"outcome": "success"}, {"outcome": "failure"}, {"outcome": "neutral"}],
    "restore": [{"state": "closed"}, {"state": "open"}, {"state": "half_open"}],
}
_PERIOD_MS = 60_000
# KEYS are those of the circuit, then as many with the content that they are to have; ARGV
# are commands, each after the number of its words.
_PREPARE = """
local size = #KEYS / 2
for i = 1, size do
  redis.call('DEL', KEYS[i])
  redis.call('COPY', KEYS[size + i], KEYS[i])
end
local place = 1
while ARGV[place] do
  local last = place + ARGV[place]
  redis.call(unpack(ARGV, place + 1, last))
  place = last + 1
end
"""
_DIGEST = """
local digests = {}
for i = 1, #KEYS do
  digests[i] = redis.sha1hex(redis.call('DUMP', KEYS[i]) or '')
end
return table.concat(digests)
"""
_DIGEST_SIZE = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to call a script: its name, and the arguments that are not the usual ones."""

    name: str
    changes: dict[str, str]

    @property
    def script(self) -> Script:
        """The script."""
        return SCRIPTS[self.name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arguments, of one run where there may be many."""
        return tuple(name for name in self.script.argv if name != "...")


@dataclass(frozen=True, slots=True)
class Case:
    """One call.

    Args:
        label: What is wrong, for messages.
        damage: Commands that are run before it on the circuit's keys.
        argv: Arguments.
        named: An error must have one of these in its text.
    """

    label: str
    damage: tuple[Words, ...]
    argv: Words
    named: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Called:
    """What came of a call.

    Args:
        case: The call.
        reply: Reply, or error.
        touched: Names of the keys that are not as they were before it.
        published: It published something.
        shown: What ``snapshot`` answered afterwards.
    """

    case: Case
    reply: Any
    touched: list[str]
    published: bool
    shown: Any

    def read(self) -> Any:
        """Decode the reply."""
        return read_snapshot(self.reply) if isinstance(self.reply, list) else read_view(self.reply)


def plans() -> Iterator[Plan]:
    """Return the ways to call every script that there is."""
    for name in sorted(SCRIPTS):
        for changes in _VARIANTS.get(name, [{}]):
            yield Plan(name, changes)


class Stage:
    """A circuit in one state, on which each call finds everything as it was.

    Args:
        client: A client of the server.
        url: The server's URL.
        prefix: Prefix of keys and channels; messages on it are noted.
        state: One of STATES.
    """

    def __init__(self, client: redis.Redis, url: str, prefix: str, state: str) -> None:
        self._client = client
        self._clock = Clock()
        self._bench = Bench(
            client,
            url,
            prefix,
            self._clock,
            failure_threshold=3,
            timeout_seconds=_PERIOD_MS / 1000,
            success_threshold=2,
            sliding_window_size=4,
            half_open_max_calls=2,
        )
        self._prepare(state)
        self.hash = client.hgetall(self._bench.keys.circuit)
        names = {name for script in SCRIPTS.values() for name in script.keys}
        self.keys = {name: self._key(name) for name in sorted(names)}
        self._saved = [f"{key}:saved" for key in self.keys.values()]
        for key, saved in zip(self.keys.values(), self._saved, strict=True):
            client.copy(key, saved)
        self._prepare_sha = client.script_load(_PREPARE)
        self._digest_sha = client.script_load(_DIGEST)
        self._usual = self._usual_arguments()
        self._ear = client.pubsub()
        self._ear.psubscribe(f"{prefix}*")
        self._number = 0
        for script in SCRIPTS.values():
            client.script_load(script.source)

    def close(self) -> None:
        """Stop to listen."""
        self._ear.close()
        self._bench.store.close()

    def arguments(self, plan: Plan) -> Words:
        """Return good arguments."""
        usual = {**self._usual, **plan.changes}
        if plan.name == "restore":
            # It takes what is newer only.
            usual["generation"] = int(usual["generation"]) + 7
            usual["epoch"] = usual["epoch"] or "lost"
        return tuple(usual[name] for name in plan.names)

    def call(self, plan: Plan, cases: Iterable[Case]) -> list[Called]:
        """Make calls, in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        numbered = [(self._add(pipeline, plan, case), case) for case in cases]
        replies = iter(pipeline.execute(raise_on_error=False))
        told = self._heard()
        called = []
        for (service, case), ready, before, reply, after, shown in zip(
            numbered, *[replies] * 5, strict=False
        ):
            assert not isinstance(ready, Exception), (case.label, ready)
            touched = [
                name
                for place, name in enumerate(self.keys)
                if _digest(before, place) != _digest(after, place)
            ]
            called.append(Called(case, reply, touched, service in told, shown))
        return called

    def _prepare(self, state: str) -> None:
        bench = self._bench
        if state == "none":
            return
        # Scripts take a shorter way where the window has no failure.
        bench.record("sss" if state == "healthy" else "sfs")
        if state in ("healthy", "closed"):
            return
        bench.record("fff")
        bench.admit("t0")
        if state != "open":
            self._clock.advance(_PERIOD_MS)
        if state in ("half_open", "overdue"):
            for token in ("t1", "t2", "t4"):
                bench.admit(token)
        if state == "overdue":
            self._clock.advance(_PERIOD_MS)

    def _key(self, name: str) -> str:
        known: str | None = getattr(self._bench.keys, name, None)
        return known or f"{self._bench.keys.circuit}:{name}"

    def _usual_arguments(self) -> dict[str, Any]:
        bench = self._bench
        # The codec knows how a policy is written.
        codec, sender = Codec(bench.store.rules, self._clock), Sender("nobody")
        words = codec.encode(Record(bench.circuit, 0, "", (), ""), sender).request.split(b"\r\n")
        return {
            "now_ms": self._clock(),
            "service": "svc",
            "owner": "owner",
            "sequence": "50",
            "policy": next(word for word in words if word.count(b",") > 5),
            "token": "t1",
            "purpose": "call",
            "generation": self.hash.get(b"generation", b"0"),
            "epoch": self.hash.get(b"epoch", b""),
            "error": "Boom",
            "age_ms": "0",
            "outcome": "success",
            "count": "1",
            "state": "open",
            "remaining_ms": "1000",
            "known_ms": "10",
            "failures": "3",
        }

    def _add(self, pipeline: Any, plan: Plan, case: Case) -> str:
        self._number += 1
        service = f"case{self._number}"
        argv = list(case.argv)
        # Messages tell the service that the script was told.
        if "service" in plan.names[: len(argv)] and argv[plan.names.index("service")] == "svc":
            argv[plan.names.index("service")] = service
        keys = self.keys.values()
        damage = [word for words in case.damage for word in (len(words), *words)]
        pipeline.evalsha(self._prepare_sha, 2 * len(keys), *keys, *self._saved, *damage)
        pipeline.evalsha(self._digest_sha, len(keys), *keys)
        self._add_script(pipeline, plan.script, argv)
        pipeline.evalsha(self._digest_sha, len(keys), *keys)
        self._add_script(pipeline, SCRIPTS["snapshot"], [self._clock()])
        return service

    def _add_script(self, pipeline: Any, script: Script, argv: Sequence[Any]) -> None:
        keys = [self.keys[name] for name in script.keys]
        pipeline.evalsha(script.sha, len(keys), *keys, *argv)

    def _heard(self) -> set[str]:
        """Return the services of which messages told since the last call."""
        end = f"end{self._number}"
        self._client.publish(f"{self._bench.store.rules.prefix}.{end}", "")
        told: set[str] = set()
        while end not in told:
            message = self._ear.get_message(timeout=10.0)
            assert message is not None, "the mark was published and never came"
            if message["type"] == "pmessage":
                told.add(message["channel"].decode(errors="replace").rpartition(".")[2])
                told.add(message["data"].decode(errors="replace"))
        return told


def _digest(digests: bytes, place: int) -> bytes:
    return digests[place * _DIGEST_SIZE : (place + 1) * _DIGEST_SIZE]
