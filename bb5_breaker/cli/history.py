"""The command history: the transitions of one circuit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bb5_breaker._core.commands import Snapshot
from bb5_breaker._core.replies import CircuitSnapshot
from bb5_breaker._shell.history import read_events
from bb5_breaker._store.history import Transition
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.places import place, unknown_circuit, where
from bb5_breaker.cli.reading import circuit_of
from bb5_breaker.cli.text import visible
from bb5_breaker.events import CircuitEvent

__all__ = ["HistoryDocument"]


@dataclass(frozen=True, slots=True)
class HistoryDocument:
    """Transitions of one circuit, the latest first."""

    exit_code: ClassVar = ExitCode.DONE
    store: RedisStore
    service: str
    events: Sequence[CircuitEvent]

    @staticmethod
    def read(store: RedisStore, service: str, limit: int, since: str | None) -> HistoryDocument:
        """Read them.

        Args:
            store: Where the circuit is.
            service: Its id, checked.
            limit: How many at the most: the latest, or those next after ``since``.
            since: Id of the last event that is known, or "beginning"; None for the latest.

        Raises:
            CommandError: There is no such circuit.
            StoreError: The store could not be read.
        """
        events = read_events(store, [service], limit, since)
        if not events and not _exists(store, service):
            raise unknown_circuit(store, service)
        return HistoryDocument(store, service, events[::-1])

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **place(self.store),
            "service_id": self.service,
            "events": [event.to_dict() for event in self.events],
        }

    def print_text(self) -> None:
        """Print a table."""
        from bb5_breaker.cli.console import make_console
        from bb5_breaker.cli.tables import history_table

        if not self.events:
            print(visible(f"no transitions of {self.service} to show {where(self.store)}"))
            return
        make_console().print(history_table([_transition(event) for event in self.events]))


def _exists(store: RedisStore, service: str) -> bool:
    snapshot = store.run(Snapshot(circuit_of(service)))
    return isinstance(snapshot, CircuitSnapshot) and snapshot.exists


def _transition(event: CircuitEvent) -> Transition:
    data = event.data
    return Transition(
        entry_id=event.metadata.event_id,
        at=event.metadata.timestamp,
        state=event.state.value,
        previous_state=data["previous_state"],
        generation=event.generation,
        reason=event.reason,
        changed_by=data["changed_by"],
        failure_count=event.failure_count,
        last_error=data["last_error"],
    )
