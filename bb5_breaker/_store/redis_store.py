"""The store that a fleet shares: scripts on a Redis or a Cluster, blocking."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis

from bb5_breaker._core.commands import Command, Record, Snapshot
from bb5_breaker._core.policy import StoreRules
from bb5_breaker._core.replies import CircuitView, Reply
from bb5_breaker._store.backend import Backend, KeyedCommand
from bb5_breaker._store.codec import Codec, ScriptCall
from bb5_breaker._store.decoding import read_snapshot, read_view
from bb5_breaker._store.faults import is_missing_script, is_wrong_type
from bb5_breaker._store.push.post import Post
from bb5_breaker._store.registry import Registry
from bb5_breaker._store.scripts import SCRIPTS
from bb5_breaker._store.senders import Sender, SenderPool, Unsure
from bb5_breaker._store.server import Server
from bb5_breaker._store.targets import Client
from bb5_breaker.exceptions import (
    StoreDataError,
    StoreError,
    StoreUnavailableError,
)

__all__ = ["RedisStore"]

_PIPELINE: Final = 500
# A time-out for each thread that meets a dead server first, and one for each attempt later.
_MOST_UNSURE: Final = 1000
# The scripts know a sender's last number for ten minutes, see prelude/repeats.lua.
_UNSURE_SECONDS: Final = 540.0


class RedisStore:
    """Circuits on a Redis or Valkey server, or on a Cluster of them.

    Thread-safe; usable after a fork (the child makes connections and names of its own). Never
    sends a command twice on its own, except a script that the server did not know.

    Args:
        client: A client as :mod:`bb5_breaker._store.targets` makes it.
        rules: Rules of the store.
        address: Where the server is, without secrets.
        clock: Gives the time in ms in tests; None, in production, leaves it to the server.
    """

    shared = True

    def __init__(
        self,
        client: Client,
        rules: StoreRules,
        address: str,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.client = client
        self.rules = rules
        self.address = address
        self.origin: object = None
        self._server = _backend_of(client, address)
        self._registry = Registry(self._server, rules)
        self._senders = SenderPool()
        self._codec = Codec(rules, clock)
        self._unsure: deque[Unsure] = deque(maxlen=_MOST_UNSURE)

    def run(self, command: Command) -> Reply:
        """Carry out one command in one round trip.

        A report that perhaps did not arrive is kept, see :meth:`take_unsure`.

        Raises:
            StoreError: The server can not be reached, refused, or holds foreign data.
        """
        sender = self._senders.take()
        try:
            raw = self._server.evaluate(self._codec.encode(command, sender))
        except StoreUnavailableError as error:
            if type(command) is Record and error.is_silent:
                self._unsure.append(Unsure(command, sender, time.monotonic()))
            else:
                self._senders.give_back(sender)
            raise
        except BaseException:
            self._senders.give_back(sender)
            raise
        self._senders.give_back(sender)
        reply = self._read(command, raw)
        if isinstance(reply, CircuitView) and (reply.renewed or self._registry.is_behind):
            self._registry.enter([(command.circuit.service, reply)])
        return reply

    def take_unsure(self) -> list[Unsure]:
        """Return the reports that perhaps did not arrive; too old ones are dropped.

        Sent again with their senders, as they are, they count once.
        """
        taken: list[Unsure] = []
        oldest = time.monotonic() - _UNSURE_SECONDS
        while True:
            try:
                report = self._unsure.popleft()
            except IndexError:
                return taken
            if report.at > oldest:
                taken.append(report)

    def run_many(
        self,
        commands: Sequence[Command],
        sender: Sender | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[Reply | StoreError]:
        """Carry out commands, hundreds in one round trip.

        Args:
            commands: The commands.
            sender: Who reports them: the same commands given again with an equal sender and the
                same numbers count once. None takes a fresh one.
            numbers: Theirs, ascending; None takes those that follow the sender's present one.

        Returns:
            In the order of the commands, the reply of each or the error that it met.

        Raises:
            StoreError: The server can not be reached.
        """
        if sender is not None:
            return self._run_all(commands, sender, numbers)
        own = self._senders.take()
        try:
            return self._run_all(commands, own, None)
        finally:
            self._senders.give_back(own)

    def list_services(self) -> list[str]:
        """Return the ids of the fleet's circuits, sorted."""
        return self._registry.list_services()

    def read_plain(self, reads: Sequence[tuple[Any, ...]], key_type: str) -> list[Any | StoreError]:
        """Run commands that read one key each, the word after their name; few round trips.

        Args:
            reads: The commands.
            key_type: What the keys hold, in the words of ``TYPE``.

        Returns:
            In the order of the commands, the reply of each or the error that it met.

        Raises:
            StoreError: The server can not be reached.
        """
        # TIME has no key.
        return self.run_plain(
            [(words[1] if words[1:] else b"", words) for words in reads], key_type
        )

    def run_plain(self, commands: Sequence[KeyedCommand], key_type: str) -> list[Any | StoreError]:
        """Run commands on one key each, also such as write; few round trips.

        None is sent twice, so after an error the caller does not know which were carried out.

        Args:
            commands: Of each its key and its words. The reply to a name in bytes is left as it
                came; to one in a str, redis-py gives another form.
            key_type: What the keys hold, in the words of ``TYPE``.

        Returns:
            In the order of the commands, the reply of each or the error that it met.

        Raises:
            StoreError: The server can not be reached.
        """
        replies: list[Any] = []
        for start in range(0, len(commands), _PIPELINE):
            batch = commands[start : start + _PIPELINE]
            replies += self._server.pipeline(batch)
        for index, reply in enumerate(replies):
            if isinstance(reply, Exception):
                wrong = is_wrong_type(reply)
                replies[index] = (
                    self._server.explain_type({commands[index][0]: key_type})
                    if wrong
                    else self._server.explain_plain(reply, commands[index][0])
                )
        return replies

    def load_scripts(self) -> None:
        """Make all scripts known to the servers, which forget them when they restart.

        Raises:
            StoreError: The server can not be reached or refused.
        """
        for server in self._server.servers():
            for script in SCRIPTS.values():
                server.command("SCRIPT LOAD", script.source)

    def servers(self) -> Sequence[Server]:
        """Return the servers that are written to: one, but of a Cluster every primary.

        Raises:
            StoreError: No server can be reached.
        """
        return self._server.servers()

    def part_of(self, service: str) -> str:
        """Return the address of the server that serves a circuit; no I/O and no lock.

        Empty where there is one server, and of a Cluster before anything was asked of it.
        """
        return self._server.part_of(service)

    def client_of(self, service: str) -> redis.Redis:
        """Return a client of the server that serves a circuit.

        Raises:
            StoreError: No server can be reached.
        """
        return self._server.client_of(service)

    def find_post(self) -> Post:
        """Return a server to listen on, for each connection anew.

        Raises:
            StoreError: No server can be reached.
        """
        return self._server.find_post()

    def drop_service(self, service: str) -> None:
        """Take a service out of the list."""
        self._registry.drop(service)

    def close(self) -> None:
        """Close all connections of this process; the next command makes new ones."""
        self._server.close()

    def _run_all(
        self, commands: Sequence[Command], sender: Sender, numbers: Sequence[int] | None
    ) -> list[Reply | StoreError]:
        replies: list[Reply | StoreError] = []
        if numbers is None:
            numbers = range(sender.sequence + 1, sender.sequence + 1 + len(commands))
        for start in range(0, len(commands), _PIPELINE):
            batch = commands[start : start + _PIPELINE]
            answers = self._run_batch(batch, sender, numbers[start : start + _PIPELINE])
            self._registry.enter(
                (command.circuit.service, answer)
                for command, answer in zip(batch, answers, strict=True)
                if isinstance(answer, CircuitView)
            )
            replies += answers
        return replies

    def _run_batch(
        self, commands: Sequence[Command], sender: Sender, numbers: Sequence[int]
    ) -> list[Reply | StoreError]:
        calls: list[ScriptCall] = []
        for command, number in zip(commands, numbers, strict=True):
            sender.sequence = number
            calls.append(self._codec.encode(command, sender))
        answers: dict[int, Reply | StoreError] = {}
        left = list(range(len(calls)))
        while left:
            raw = self._server.evaluate_many([calls[index] for index in left])
            unknown = [index for index, reply in zip(left, raw, strict=True) if _is_unknown(reply)]
            for index, reply in zip(left, raw, strict=True):
                if not _is_unknown(reply):
                    answers[index] = self._read_or_explain(commands[index], calls[index], reply)
            # One alone makes its script known; the others go together once more.
            for index in unknown[:1]:
                answers[index] = self._run_or_explain(commands[index], calls[index])
            left = unknown[1:]
        return [answers[index] for index in range(len(calls))]

    def _run_or_explain(self, command: Command, call: ScriptCall) -> Reply | StoreError:
        try:
            return self._read(command, self._server.evaluate(call))
        except StoreError as error:
            return error

    def _read_or_explain(self, command: Command, call: ScriptCall, raw: Any) -> Reply | StoreError:
        if isinstance(raw, Exception):
            return self._server.explain(raw, call)
        try:
            return self._read(command, raw)
        except StoreDataError as error:
            return error

    def _read(self, command: Command, raw: Any) -> Reply:
        try:
            return read_snapshot(raw) if type(command) is Snapshot else read_view(raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            key = self._codec.keys_of(command.circuit).circuit.decode(errors="replace")
            raise StoreDataError(
                f"Redis at {self.address}: {key} can not be read: {error}; "
                "correct it or delete the key"
            ) from error


def _backend_of(client: Client, address: str) -> Backend:
    return Server(client, address) if isinstance(client, redis.Redis) else client.backend()


def _is_unknown(reply: Any) -> bool:
    return isinstance(reply, Exception) and is_missing_script(reply)
