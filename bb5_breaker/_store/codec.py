"""From commands to requests. The scripts' headers name what each argument is."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import takewhile
from operator import attrgetter
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

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
    Settle,
    Snapshot,
)
from bb5_breaker._core.policy import Circuit, StoreRules
from bb5_breaker._store.keys import CircuitKeys
from bb5_breaker._store.packing import pack_word
from bb5_breaker._store.scripts import SCRIPTS, Script
from bb5_breaker._store.senders import Sender

__all__ = ["Codec", "ScriptCall"]

_SCRIPT_OF: Final[dict[type, Script]] = {
    Admit: SCRIPTS["admit"],
    Record: SCRIPTS["record"],
    Settle: SCRIPTS["settle"],
    Extend: SCRIPTS["extend"],
    Promote: SCRIPTS["promote"],
    Restore: SCRIPTS["restore"],
    Reset: SCRIPTS["reset"],
    Clear: SCRIPTS["clear"],
    CountRejections: SCRIPTS["count_rejections"],
    Look: SCRIPTS["look"],
    Snapshot: SCRIPTS["snapshot"],
    Forget: SCRIPTS["forget"],
}
# Arguments that are no fields of a command.
_COMMON: Final = frozenset({"now_ms", "service", "owner", "sequence", "policy"})
_STEMS: Final = 1024
_PATHS: Final = {
    "outcome": "outcome.value",
    "purpose": "purpose.value",
    "state": "state.value",
}
_OUTCOMES: Final = {outcome: pack_word(outcome.value) for outcome in Outcome}


class ScriptCall(NamedTuple):
    """A script with what it is called with.

    Args:
        script: The script.
        keys: Its keys.
        request: The whole EVALSHA as it goes to the server.
    """

    script: Script
    keys: tuple[bytes, ...]
    request: bytes

    @property
    def request_with_source(self) -> bytes:
        """The same as an EVAL, for a server that does not know the script."""
        named, spelt = pack_word("EVAL"), pack_word(self.script.source)
        return self.request.replace(_name_of(self.script), named + spelt, 1)


class _Form:
    """What the requests of one script have in common.

    Args:
        script: The script, as its header has it.
    """

    __slots__ = ("common", "fields", "head", "last_key", "script", "size")

    def __init__(self, script: Script) -> None:
        self.script = script
        # The words up to its keys.
        self.head = _name_of(script) + pack_word(len(script.keys))
        # The sender's own key, or another that few need, comes after those of the circuit.
        self.last_key = script.keys[-1]
        # Its first arguments say who asks and by which rules; the others are the command's.
        self.common = tuple(takewhile(_COMMON.__contains__, script.named_argv))
        fields = script.named_argv[len(self.common) :]
        self.fields = tuple(attrgetter(_PATHS.get(name, name)) for name in fields)
        # Number of words, without the pairs that `record` repeats.
        self.size = 3 + len(script.keys) + len(script.named_argv)


class _Prepared:
    """What never changes for a circuit, encoded once.

    Args:
        circuit: The circuit.
        rules: Rules of the store.
    """

    __slots__ = ("keys", "packed", "packed_keys")

    def __init__(self, circuit: Circuit, rules: StoreRules) -> None:
        self.keys = CircuitKeys.of(rules.prefix, circuit.service)
        self.packed_keys = b"".join(map(pack_word, self.keys.all))
        # Arguments by their names.
        self.packed = {
            "service": pack_word(circuit.service),
            "policy": pack_word(_policy_text(circuit, rules)),
        }


class _Stem(NamedTuple):
    """What is the same in all requests of one script, circuit and sender.

    Args:
        keys: All keys.
        head: The words up to the first gap.
        gaps: The arguments that each request has anew, with the words that follow each.
    """

    keys: tuple[bytes, ...]
    head: bytes
    gaps: tuple[tuple[str, bytes], ...]


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
        self._stem = lru_cache(maxsize=_STEMS)(_write_stem)

    def keys_of(self, circuit: Circuit) -> CircuitKeys:
        """Return the keys of a circuit."""
        return self._prepare(circuit).keys

    def encode(self, command: Command, sender: Sender) -> ScriptCall:
        """Return the script call of a command, reported by ``sender``."""
        form = _FORMS[type(command)]
        stem = self._stem(form, self._prepare(command.circuit), sender.name, sender.owner)
        words = [stem.head]
        for name, after in stem.gaps:
            number = sender.sequence if name == "sequence" else self._now_ms()
            words += (pack_word(number), after)
        for read in form.fields:
            words.append(pack_word(read(command)))
        size = form.size
        if type(command) is Record:
            size += 2 * len(command.runs)
            for run in command.runs:
                words += (_OUTCOMES[run.outcome], pack_word(run.count))
        return ScriptCall(form.script, stem.keys, b"*%d\r\n%b" % (size, b"".join(words)))

    def _now_ms(self) -> int:
        assert self._clock is not None
        return self._clock()

    def _prepare(self, circuit: Circuit) -> _Prepared:
        prepared = self._prepared.get(circuit)
        if prepared is None:
            prepared = _Prepared(circuit, self._rules)
            if self._clock is None:
                prepared.packed["now_ms"] = pack_word(b"")
            self._prepared[circuit] = prepared
        return prepared


def _write_stem(form: _Form, circuit: _Prepared, sender: str, owner: str) -> _Stem:
    keys, head = circuit.keys.all, form.head + circuit.packed_keys
    for last in _last_key(form, circuit, sender):
        keys, head = (*keys, last), head + pack_word(last)
    packed = {**circuit.packed, "owner": pack_word(owner)}
    gaps: list[tuple[str, bytes]] = []
    for name in form.common:
        if name not in packed:
            gaps.append((name, b""))
        elif gaps:
            gaps[-1] = (gaps[-1][0], gaps[-1][1] + packed[name])
        else:
            head += packed[name]
    return _Stem(keys, head, tuple(gaps))


def _last_key(form: _Form, circuit: _Prepared, sender: str) -> tuple[bytes, ...]:
    """Return the key that only some scripts take."""
    if form.last_key == "sender":
        return (circuit.keys.sender(sender),)
    return (circuit.keys.forgotten,) if form.last_key == "forgotten" else ()


def _name_of(script: Script) -> bytes:
    return pack_word("EVALSHA") + pack_word(script.sha)


def _policy_text(circuit: Circuit, rules: StoreRules) -> str:
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
        rules.history_ms,
    )
    return ",".join([*map(str, numbers), rules.event_format, rules.prefix])


_FORMS: Final = {kind: _Form(script) for kind, script in _SCRIPT_OF.items()}
