"""From replies of scripts to data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from bb5_breaker._core.replies import CircuitSnapshot, CircuitView, Verdict
from bb5_breaker.state import CircuitState

__all__ = ["read_snapshot", "read_view"]

# Counts, and times up to the year 9999.
_GREATEST: Final = 253_402_300_799_999
_MOST_DIGITS: Final = 20
_REMEMBERED: Final = 256

_VERDICTS: Final = {verdict.value.encode(): verdict for verdict in Verdict}
_STATES: Final = {state.value.encode(): state for state in CircuitState}


# The commonest replies tell no time: while a circuit is closed each is like the one before.
@lru_cache(maxsize=_REMEMBERED)
def read_view(reply: bytes) -> CircuitView:
    """Return the circuit's view in the reply of any script but ``snapshot``."""
    verdict, state, moved_from, renewed, *numbers, epoch, error = reply.split(b"\n", 10)
    generation, now_ms, until_ms, failures, last_failure_ms = map(int, numbers)
    return CircuitView(
        verdict=_VERDICTS[verdict],
        state=_STATES[state],
        generation=generation,
        epoch=epoch.decode(errors="replace"),
        now_ms=now_ms,
        until_ms=until_ms,
        failures=failures,
        last_error=error.decode(errors="replace"),
        last_failure_ms=last_failure_ms,
        moved_from=_STATES.get(moved_from),
        renewed=renewed == b"1",
    )


def read_snapshot(reply: Sequence[Any]) -> CircuitSnapshot:
    """Return the circuit in the reply of ``snapshot``."""
    if len(reply) == 2:
        return CircuitSnapshot(exists=False, now_ms=reply[0])
    fields: dict[bytes, bytes] = dict(zip(reply[2::2], reply[3::2], strict=True))

    def number(name: bytes) -> int:
        value = fields.get(name) or b"0"
        if not value.isdigit() or len(value) > _MOST_DIGITS or int(value) > _GREATEST:
            raise ValueError(
                f'field "{name.decode()}" holds "{value[:50].decode(errors="replace")}", '
                "not a count or a time in ms"
            )
        return int(value)

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    calls = number(b"total_successes") + number(b"total_failures")
    return CircuitSnapshot(
        exists=True,
        now_ms=reply[0],
        state=_STATES[fields[b"state"]],
        generation=number(b"generation"),
        epoch=text(b"epoch"),
        failures=number(b"failures"),
        total_successes=number(b"total_successes"),
        total_failures=number(b"total_failures"),
        rejections=number(b"rejections"),
        transitions=number(b"transitions"),
        window_calls=min(calls - number(b"window_from"), number(b"window_size")),
        window_failures=number(b"window_failures"),
        active_probes=reply[1],
        last_failure_ms=number(b"last_failure_ms"),
        last_success_ms=number(b"last_success_ms"),
        last_error=text(b"last_error"),
        opened_ms=number(b"opened_ms"),
        open_until_ms=number(b"open_until_ms"),
        half_open_ms=number(b"half_open_ms"),
        changed_ms=number(b"changed_ms"),
        changed_by=text(b"changed_by"),
        reason=text(b"reason"),
    )
