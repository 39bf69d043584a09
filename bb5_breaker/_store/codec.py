"""From commands to calls of scripts. The scripts' headers name what each argument is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from bb5_breaker._core.commands import (
    Admit,
    Clear,
    Command,
    Extend,
    Forget,
    Outcome,
    Promote,
    Record,
    Reset,
    Settle,
    Snapshot,
)
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._store.identity import process_owner
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker._store.scripts import SCRIPTS, Script
from bb5_breaker._store.senders import Sender

__all__ = ["Codec", "ScriptCall"]

Argument = bytes | str | int

_SCRIPT_OF: Final[dict[type, Script]] = {
    Admit: SCRIPTS["admit"],
    Record: SCRIPTS["record"],
    Settle: SCRIPTS["settle"],
    Extend: SCRIPTS["extend"],
    Promote: SCRIPTS["promote"],
    Reset: SCRIPTS["reset"],
    Clear: SCRIPTS["clear"],
    Snapshot: SCRIPTS["snapshot"],
    Forget: SCRIPTS["forget"],
}


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One EVALSHA: a script with its keys and arguments."""

    script: Script
    keys: tuple[bytes, ...]
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What never changes for a circuit, encoded once."""

    keys: CircuitKeys
    all_keys: tuple[bytes, ...]
    service: bytes
    policy: bytes


class Codec:
    """Writes the commands of one store.

    Args:
        rules: Rules of the store.
        clock: Gives the time in ms in tests; None lets the server's clock decide.
    """

    def __init__(
        self,
        rules: StoreRules,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._prepared: WeakKeyDictionary[Circuit, _Prepared] = WeakKeyDictionary()

    def keys_of(self, circuit: Circuit) -> CircuitKeys:
        """Return the keys of a circuit."""
        return self._prepare(circuit).keys

    def encode(self, command: Command, sender: Sender) -> ScriptCall:
        """Return the script call of a command, reported by ``sender``."""
        script = _SCRIPT_OF[type(command)]
        circuit = self._prepare(command.circuit)
        keys = circuit.all_keys
        if script.keys[-1] == "sender":
            keys = (*keys, circuit.keys.sender(sender.name))
        known: dict[str, Argument] = {
            "now_ms": b"" if self._clock is None else self._clock(),
            "service": circuit.service,
            "owner": process_owner(),
            "sequence": sender.sequence,
            "policy": circuit.policy,
        }
        arguments = [
            known[name] if name in known else _plain(getattr(command, name))
            for name in script.named_argv
        ]
        if isinstance(command, Record):
            for run in command.runs:
                arguments += (run.outcome.value, run.count)
        return ScriptCall(script, keys, tuple(arguments))

    def _prepare(self, circuit: Circuit) -> _Prepared:
        prepared = self._prepared.get(circuit)
        if prepared is None:
            keys = CircuitKeys.of(self._rules.prefix, circuit.service)
            prepared = _Prepared(
                keys, keys.all, circuit.service.encode(), _pack_policy(circuit, self._rules)
            )
            self._prepared[circuit] = prepared
        return prepared


def _plain(value: Any) -> Argument:
    plain: Argument = value.value if isinstance(value, Outcome) else value
    return plain


def _pack_policy(circuit: Circuit, rules: StoreRules) -> bytes:
    policy = circuit.policy
    numbers = (
        policy.sliding_window_size,
        policy.failure_threshold,
        rules.idle_ms,
        policy.timeout_ms,
        policy.success_threshold,
        policy.half_open_max_calls,
        policy.reset_timeout_ms,
        policy.lease_ms,
        rules.history,
    )
    return ",".join([*map(str, numbers), rules.event_format, rules.prefix]).encode()
