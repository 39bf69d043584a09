"""What the commands show of circuits, as data: one form for tables and for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from bb5_breaker._core.commands import Snapshot
from bb5_breaker._core.policy import Circuit
from bb5_breaker._core.replies import CircuitSnapshot, Reply
from bb5_breaker._shell.announcing import moment
from bb5_breaker._shell.figures import stats_of
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.config import CircuitBreakerConfig
from bb5_breaker.exceptions import StoreError
from bb5_breaker.state import CircuitState

__all__ = [
    "UNREADABLE",
    "CircuitReport",
    "circuit_of",
    "count_states",
    "is_wanted",
    "list_services",
    "read_fleet",
    "report_of",
]

UNREADABLE: Final = "unreadable"
_ORDER: Final = ("open", "half_open", UNREADABLE, "closed")
# Reading and resetting need no rules of a circuit, but a command carries some.
_ANY_RULES: Final = CircuitBreakerConfig()


@dataclass(frozen=True, slots=True)
class CircuitReport:
    """One circuit at one moment.

    Args:
        service: Its service id.
        state: Its state by the clock, or "unreadable".
        seconds_in_state: Since when; None when it never changed.
        seconds_to_next_attempt: To the end of the open period; None unless open.
        figures: All there is, by name and in plain values; this is the JSON form.
    """

    service: str
    state: str
    seconds_in_state: float | None
    seconds_to_next_attempt: float | None
    figures: dict[str, Any]

    @property
    def order(self) -> tuple[int, str]:
        """Sorts what needs attention to the top."""
        return _ORDER.index(self.state), self.service


def circuit_of(service: str) -> Circuit:
    """Return the subject of a command about a checked service id."""
    return Circuit.of(service, _ANY_RULES)


def is_wanted(service: str, glob: str | None) -> bool:
    """Return True for a service id that a pattern, as in a shell, matches; None matches all."""
    return glob is None or fnmatchcase(service, glob)


def list_services(store: RedisStore, glob: str | None) -> list[str]:
    """Return the ids of the fleet's circuits that a pattern matches, sorted.

    Raises:
        StoreError: The store could not be read.
    """
    return [service for service in store.list_services() if is_wanted(service, glob)]


def read_fleet(store: RedisStore, glob: str | None) -> list[CircuitReport]:
    """Return the circuits of the fleet, those that need attention first.

    Args:
        store: Where they are.
        glob: Pattern of service ids, as in a shell; None for all.

    Raises:
        StoreError: The store could not be read.
    """
    services = list_services(store, glob)
    replies = store.run_many([Snapshot(circuit_of(service)) for service in services])
    # Circuits that expired stay in the registry for a while.
    found = [
        report_of(service, reply)
        for service, reply in zip(services, replies, strict=True)
        if not isinstance(reply, CircuitSnapshot) or reply.exists
    ]
    return sorted(found, key=lambda report: report.order)


def report_of(service: str, reply: Reply | StoreError) -> CircuitReport:
    """Return the report in the answer to a snapshot, which may be an error."""
    if not isinstance(reply, CircuitSnapshot):
        return _unreadable(service, str(reply))
    try:
        return _readable(service, reply)
    except (ValueError, OverflowError) as error:
        # Somebody wrote a time that no calendar has.
        return _unreadable(service, f"the stored figures of '{service}' make no sense: {error}")


def count_states(reports: Sequence[CircuitReport]) -> dict[str, int]:
    """Return how many circuits are in which state, in the order of the table."""
    states = [report.state for report in reports]
    return {state: states.count(state) for state in _ORDER}


def _unreadable(service: str, error: str) -> CircuitReport:
    figures = {"service_id": service, "current_state": UNREADABLE, "error": error}
    return CircuitReport(service, UNREADABLE, None, None, figures)


def _readable(service: str, snapshot: CircuitSnapshot) -> CircuitReport:
    state = snapshot.effective_state
    entered_ms = snapshot.changed_ms if state is snapshot.state else snapshot.open_until_ms
    since = max(0, snapshot.now_ms - entered_ms) / 1000 if entered_ms else None
    is_open = state is CircuitState.OPEN
    left = (snapshot.open_until_ms - snapshot.now_ms) / 1000 if is_open else None
    figures = {
        "service_id": service,
        **stats_of(snapshot).to_dict(),
        "error": None,
        "stored_state": snapshot.state.value,
        "seconds_in_state": since,
        "seconds_to_next_attempt": left,
        "next_attempt_at": _iso(snapshot.open_until_ms) if is_open else None,
        "changed_at": _iso(snapshot.changed_ms),
        "changed_by": snapshot.changed_by,
        "reason": snapshot.reason,
        "last_error": snapshot.last_error,
        "epoch": snapshot.epoch,
        "as_of": _iso(snapshot.now_ms),
    }
    return CircuitReport(service, state.value, since, left, figures)


def _iso(ms: int) -> str | None:
    when = moment(ms)
    return None if when is None else when.isoformat()
