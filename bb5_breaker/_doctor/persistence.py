"""What survives a restart, and whether saving it stands in the way of writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient
from bb5_breaker._doctor.repairs import repair_line

__all__ = ["NAME", "check"]

NAME: Final = "persistence"
_UNKNOWN: Final = "unknown"


def check(patient: Patient) -> Iterator[Finding]:
    """Look at both ways to keep data, and at how the last saves ended."""
    info = patient.info
    keeps_log = info.get("aof_enabled") == "1"
    saves = patient.setting_or("save", _UNKNOWN)
    # Whoever is not told goes by the server's default.
    stops = patient.setting_or("stop-writes-on-bgsave-error", "yes") == "yes"
    if info.get("rdb_last_bgsave_status", "ok") != "ok" and saves:
        yield _failed_save(patient, stops)
    if keeps_log and info.get("aof_last_write_status", "ok") != "ok":
        yield Finding(
            NAME,
            Severity.PROBLEM,
            "the last write to the append-only file failed: all writes are refused (MISCONF)",
            "free room on the server's disk, and look into its log",
        )
    yield Finding(NAME, Severity.OK, _kept(keeps_log, saves))


def _failed_save(patient: Patient, stops: bool) -> Finding:
    log = "free room on the server's disk and look into its log, then save again (BGSAVE)"
    if not stops:
        return Finding(NAME, Severity.WARNING, "the last save to disk failed", log)
    return Finding(
        NAME,
        Severity.PROBLEM,
        "the last save to disk failed, and stop-writes-on-bgsave-error has all writes refused "
        "until one succeeds (MISCONF): each process guards its calls alone",
        f"{log}; or go on without",
        repair_line(patient, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no"),
    )


def _kept(keeps_log: bool, saves: str) -> str:
    if keeps_log:
        return "an append-only file is kept: circuits survive a restart"
    if saves == _UNKNOWN:
        return "no append-only file is kept; whether snapshots are saved is not told to this user"
    if saves:
        return "snapshots are saved: a restart may set circuits back to the last one"
    return (
        "nothing is kept on disk: after a restart all circuits are closed until they trip again; "
        "harmless for most"
    )
