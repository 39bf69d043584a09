"""Places in the histories of circuits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["BEGINNING", "EntryId", "Since"]

# A stream takes 64 bits; what is larger than this is none of ours.
_ID: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


class EntryId(NamedTuple):
    """Id of an entry in a circuit's stream: a time in ms of the server's clock, and a number."""

    ms: int
    number: int

    @staticmethod
    def parse(text: str) -> EntryId:
        """Return the id in ``<ms>-<number>``, also when ``:<service>`` follows.

        Raises:
            ValueError: It is none.
        """
        found = _ID.fullmatch(text.partition(":")[0])
        if found is None:
            raise ValueError(
                f"{text[:200]!r} is no event id; one is like '1700000000000-3:service'"
            )
        return EntryId(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"


BEGINNING: Final = EntryId(0, 0)
_GREATEST_NUMBER: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Since:
    """From where on somebody wants to be told.

    Args:
        entry_id: The last event that he knows.
        service: The circuit that it is of; None when the id names none.
    """

    entry_id: EntryId
    service: str | None

    @staticmethod
    def parse(text: object) -> Since | None:
        """Return the place that "beginning" or an event id names; None for "now".

        Raises:
            ValueError: It is none of these.
        """
        if text == "now":
            return None
        if text == "beginning":
            return Since(BEGINNING, None)
        if not isinstance(text, str):
            raise ValueError(
                f"since must be 'now', 'beginning' or the id of an event, got {type(text).__name__}"
            )
        try:
            entry_id = EntryId.parse(text)
        except ValueError as error:
            raise ValueError(f"since must be 'now', 'beginning' or an id: {error}") from None
        if max(entry_id) >= _GREATEST_NUMBER:
            raise ValueError(f"since must be the id of an event; none is as great as {text!r}")
        return Since(entry_id, text.partition(":")[2] or None)

    def place_in(self, service: str) -> EntryId:
        """Return the entry of one circuit after which he is to be told.

        Of other circuits than the one of his event he may or may not know what happened in the
        same millisecond, so he is told again.
        """
        if self.service == service or self.entry_id == BEGINNING:
            return self.entry_id
        if self.entry_id.ms == 0:
            return BEGINNING
        return EntryId(self.entry_id.ms - 1, _GREATEST_NUMBER)
