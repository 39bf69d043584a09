"""Asks sentinels which server is the primary, and never waits long for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from redis import exceptions as failures

from bb5_breaker._store.chance import shuffle
from bb5_breaker._store.connections import ConnectionStack
from bb5_breaker._store.faults import CLIENT_ERRORS, NoPrimaryError
from bb5_breaker._store.packing import pack_words
from bb5_breaker._store.tls_advice import advise_on_tls

__all__ = ["Address", "Sentinel", "Sentinels"]

_LAST_PORT: Final = 65535
_LONGEST_REASON: Final = 120
# In patiences: when two have hung, a third is not asked.
_LAST_BEGIN: Final = 1.5


class Address(NamedTuple):
    """Where a server is."""

    host: str
    port: int


class Sentinel(NamedTuple):
    """One sentinel.

    Args:
        name: Its host and port, for messages.
        connections: The way to it; a request fails within the patience that
            :class:`Sentinels` is told.
    """

    name: str
    connections: ConnectionStack


class Sentinels:
    """The sentinels of one primary. Thread-safe; a child process connects anew.

    Whoever answered last is asked first, so sentinels that are dead or frozen are met once.

    Args:
        sentinels: Whom to ask.
        service: Name of the primary among them.
        patience: Seconds that each may take. Two that hang are met in one question, and no more.
        forced_host: Host that takes the place of the one they name; None for none.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        sentinels: Sequence[Sentinel],
        service: str,
        patience: float,
        forced_host: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self._patience = patience
        self._forced_host = forced_host
        self._clock = clock
        self._question = pack_words("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        # By chance at first, so that a fleet does not ask one alone. Always replaced as a whole.
        self._order = tuple(shuffle(sentinels))

    def ask(self) -> Address:
        """Return where the primary is.

        Raises:
            NoPrimaryError: None of those that could be asked in time knows.
        """
        begun = self._clock()
        order = self._order
        reasons: list[str] = []
        for number, sentinel in enumerate(order):
            if self._clock() - begun > _LAST_BEGIN * self._patience:
                break
            # The last one that is asked comes first the next time, whatever it says now.
            self._order = order[number:] + order[:number]
            try:
                return self._ask_one(sentinel)
            except CLIENT_ERRORS as fault:
                reasons.append(f"{sentinel.name}: {_reason_of(fault)}")
        self.doubt_first()
        raise NoPrimaryError(
            f"no sentinel named the primary '{self.service}' ({'; '.join(reasons)}). Check their "
            "addresses and the name of the primary"
        )

    def doubt_first(self) -> None:
        """Ask another one first from now on: what this one said was not so."""
        self._order = (*self._order[1:], self._order[0])

    def close(self) -> None:
        """Close the connections that are not in use; they open again when needed."""
        for sentinel in self._order:
            sentinel.connections.close()

    def _ask_one(self, sentinel: Sentinel) -> Address:
        match sentinel.connections.ask(self._question):
            case [bytes(host), bytes(port)] if port.isdigit() and int(port) <= _LAST_PORT:
                named = self._forced_host or host.decode(errors="replace")
                return Address(named, int(port))
            case None:
                raise failures.ResponseError("knows no primary of this name")
            case _:
                raise failures.InvalidResponse("answers like no sentinel")


def _reason_of(fault: Exception) -> str:
    text = str(fault)
    if isinstance(fault, failures.AuthenticationError) or "NOAUTH" in text or "WRONGPASS" in text:
        return "it refused the name or password; set sentinel_username and sentinel_password"
    advice = advise_on_tls(text, "")
    return "; ".join(filter(None, (text[:_LONGEST_REASON].rstrip("."), advice)))
