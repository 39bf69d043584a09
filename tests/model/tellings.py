"""The code's own tellings of the rules, over histories to which the oracle knows the answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis

from bb5_breaker._core.commands import (
    Admit,
    Command,
    CountRejections,
    Look,
    Record,
    Restore,
    Settle,
    Snapshot,
)
from bb5_breaker._core.policy import StoreRules
from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Reply, Verdict
from bb5_breaker._store.codec import Codec, ScriptCall
from bb5_breaker._store.decoding import read_snapshot, read_view
from bb5_breaker._store.private_store import PrivateStore
from bb5_breaker._store.scripts import SCRIPTS
from bb5_breaker._store.senders import Sender
from bb5_breaker._store.server import Server
from bb5_breaker.state import CircuitState
from tests.model.oracle import Answer, Figures, Transition

__all__ = ["InProcess", "OnServer", "Sent"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A command with what should come of it.

    Args:
        command: As its sender gives it, but without the epoch.
        life: Number of the life that its epoch names; each telling has names of its own.
        sender: Name of the sender.
        number: The sender's number for it.
        now_ms: Time of the store's clock.
        answer: What the oracle answers.
        figures: What the oracle shows afterwards.
    """

    command: Command
    life: int
    sender: str
    number: int
    now_ms: int
    answer: Answer
    figures: Figures


class _Names:
    """The names that one telling gives to lives."""

    def __init__(self) -> None:
        self._epochs = {0: ""}

    def knows(self, life: int) -> bool:
        """Whether a reply has told the name of a life."""
        return life in self._epochs

    def address(self, sent: Sent) -> Command:
        """Return the command with the epoch that it means."""
        if isinstance(sent.command, Record | CountRejections | Restore | Settle):
            return replace(sent.command, epoch=self._epochs[sent.life])
        return sent.command

    def life_of(self, epoch: str, expected: int) -> int:
        """Return the number of a life; a name that is new belongs to the life that is."""
        for life, name in self._epochs.items():
            if name == epoch:
                return life
        if expected not in self._epochs:
            self._epochs[expected] = epoch
            return expected
        return -1


class InProcess:
    """The machine of one process, as far as it is meant to do what the scripts do."""

    def __init__(self) -> None:
        self._now_ms = 0
        self._store = PrivateStore(clock=lambda: self._now_ms)
        self._names = _Names()
        self._left = self._forgot = False
        self._life = 0

    def run(self, sent: Sent) -> None:
        """Run one command and compare."""
        command, answer = sent.command, sent.answer
        stored = self._store.list_services()
        if isinstance(command, Record) and not stored:
            # It loses no memory, so it does not go on from what others know of an earlier life.
            self._left |= command.generation > 0 or sent.life > 0
        # Nor is it given back what was forgotten: whoever tells it knows of that as well.
        self._forgot |= answer.verdict is Verdict.FORGOTTEN
        self._left |= isinstance(command, Restore) and (self._forgot or not stored)
        # And given an earlier life, it would name the next one as the one after that.
        self._left |= isinstance(command, Restore) and sent.life != self._life
        self._life = answer.life
        if self._left:
            return
        self._now_ms = sent.now_ms
        # It begins a circuit with the first call, so that this is settled where it was admitted.
        begins = isinstance(command, Admit) and not stored
        # Nothing is lost between a process and itself, so nothing is sent again.
        if not begins and not answer.repeated:
            check_view("the machine", self._names, sent, self._store.run(self._names.address(sent)))
        check_figures("the machine", self._names, sent, self._store.run(Snapshot(_circuit(sent))))


class OnServer:
    """The scripts on a server, asked for many commands in one round trip.

    Args:
        client: A client as :mod:`bb5_breaker._store.clients` makes it.
        name: The server's name in messages.
        rules: Rules of the store.
    """

    def __init__(self, client: redis.Redis, name: str, rules: StoreRules) -> None:
        self.name = name
        self._client = client
        self._server = Server(client, name)
        self._now_ms = 0
        self._codec = Codec(rules, lambda: self._now_ms)
        for script in SCRIPTS.values():
            client.script_load(script.source)

    def run(
        self,
        history: Sequence[Sent],
        events: Sequence[Transition],
        places: dict[str, int],
    ) -> None:
        """Run a whole history and compare every reply, and what is stored in the end."""
        names = _Names()
        batch: list[Sent] = []
        for sent in history:
            if not names.knows(sent.life):
                self._run_batch(batch, names)
                batch = []
            batch.append(sent)
        self._run_batch(batch, names)
        if history:
            self._check_stored(history[-1], names, events, places)

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _run_batch(self, batch: Sequence[Sent], names: _Names) -> None:
        calls = [call for sent in batch for call in self._calls(sent, names)]
        if not calls:
            return
        replies = self._server.evaluate_many(calls)
        for index, sent in enumerate(batch):
            told, shown = replies[2 * index : 2 * index + 2]
            check_view(self.name, names, sent, _read(told, read_view))
            check_figures(self.name, names, sent, _read(shown, read_snapshot))

    def _calls(self, sent: Sent, names: _Names) -> Iterable[ScriptCall]:
        self._now_ms = sent.now_ms
        sender = Sender(sent.sender)
        sender.sequence = sent.number
        yield self._codec.encode(names.address(sent), sender)
        yield self._codec.encode(Snapshot(_circuit(sent)), sender)

    def _check_stored(
        self, last: Sent, names: _Names, events: Sequence[Transition], places: dict[str, int]
    ) -> None:
        keys = self._codec.keys_of(_circuit(last))
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xrange(keys.events)
        pipeline.zrange(keys.probes, 0, -1, withscores=True)
        entries, leases = pipeline.execute()
        kept = [_transition_of(entry, names) for _, entry in entries]
        assert kept == list(events), (self.name, "events", kept, events)
        ids = [tuple(map(int, entry_id.split(b"-"))) for entry_id, _ in entries]
        assert ids == sorted(set(ids)), (self.name, "ids", ids)
        held = {token.decode(): int(end) for token, end in leases if end > last.now_ms}
        live = {token: end for token, end in places.items() if end > last.now_ms}
        assert held == live, (self.name, "leases", held, live)


def check_view(name: str, names: _Names, sent: Sent, view: Reply) -> None:
    """Compare a reply with the oracle's, as far as a reply of its kind tells it."""
    assert isinstance(view, CircuitView)
    answer, command = sent.answer, sent.command
    got: dict[str, Any] = {
        "verdict": view.verdict,
        "state": view.state,
        "generation": view.generation,
        "moved_from": view.moved_from,
        "life": names.life_of(view.epoch, answer.life),
    }
    # The last failure is told only where it is of use: it costs a read.
    looked = isinstance(command, CountRejections | Restore) or (
        isinstance(command, Look) and view.state is not CircuitState.CLOSED
    )
    placed = view.verdict in (Verdict.REJECT, Verdict.PROBE)
    known = looked or placed or view.moved_from is not None
    if known or not isinstance(command, Admit | Look):
        got["failures"] = view.failures
    if known:
        got |= {"last_error": view.last_error, "last_failure_ms": view.last_failure_ms}
    if looked or placed or view.verdict is Verdict.HELD:
        got["until_ms"] = view.until_ms
    expected = {field: getattr(answer, field) for field in got}
    assert got == expected, _differences(name, sent, got, expected)


def check_figures(name: str, names: _Names, sent: Sent, snapshot: Reply) -> None:
    """Compare all figures that users see with the oracle's."""
    assert isinstance(snapshot, CircuitSnapshot)
    fields = Figures.__dataclass_fields__
    got = {
        field: names.life_of(snapshot.epoch, sent.figures.life)
        if field == "life"
        else getattr(snapshot, field)
        for field in fields
    }
    expected = {field: getattr(sent.figures, field) for field in fields}
    assert got == expected, _differences(name, sent, got, expected)


def _circuit(sent: Sent) -> Any:
    return sent.command.circuit


def _read(raw: Any, read: Any) -> Reply:
    if isinstance(raw, Exception):
        raise AssertionError(f"a script failed: {raw}") from raw
    reply: Reply = read(raw)
    return reply


def _differences(name: str, sent: Sent, got: dict[str, Any], expected: dict[str, Any]) -> str:
    pairs = [
        f"{field} {got[field]!r}, expected {expected[field]!r}"
        for field in got
        if got[field] != expected[field]
    ]
    return f"{name} after {sent.command} of life {sent.life} at {sent.now_ms}: {'; '.join(pairs)}"


def _transition_of(entry: dict[bytes, bytes], names: _Names) -> Transition:
    fields = {key.decode(): value.decode() for key, value in entry.items()}
    return Transition(
        CircuitState(fields["previous_state"]),
        CircuitState(fields["state"]),
        int(fields["generation"]),
        int(fields["failure_count"]),
        names.life_of(fields["epoch"], -1),
        fields["reason"],
    )
