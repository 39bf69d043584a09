"""What part the server plays among others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bb5_breaker._doctor.findings import Finding, Severity
from bb5_breaker._doctor.patient import Patient

__all__ = ["NAME", "check"]

NAME: Final = "topology"


def check(patient: Patient) -> Iterator[Finding]:
    """Find out whether it takes writes, and for all keys."""
    info = patient.info
    mode = info.get("redis_mode") or info.get("server_mode", "standalone")
    if mode == "sentinel":
        yield Finding(
            NAME,
            Severity.PROBLEM,
            "this is a Sentinel, which keeps no circuits",
            "name the primary that it watches; it tells where that is: "
            "redis-cli SENTINEL GET-MASTER-ADDR-BY-NAME <name>",
        )
        return
    if mode == "cluster" or info.get("cluster_enabled") == "1":
        yield _cluster(patient)
    if info.get("role") == "slave":
        yield _replica(info)
    elif info.get("role") == "master":
        yield from _primary(patient, info)
    else:
        yield Finding(NAME, Severity.WARNING, "the server does not tell whether it takes writes")


def _cluster(patient: Patient) -> Finding:
    if not patient.is_cluster:
        return Finding(
            NAME,
            Severity.PROBLEM,
            "this is a node of a Cluster, named as a single server: circuits of other nodes' slots "
            "are refused (MOVED)",
            "name the Cluster: redis+cluster://host:port,host:port",
        )
    primaries = patient.store.servers()
    return Finding(
        NAME,
        Severity.OK,
        f"a Cluster with {len(primaries)} primaries that answer; only {primaries[0].address} is "
        "examined here",
    )


def _replica(info: dict[str, str]) -> Finding:
    primary = f"{info.get('master_host')}:{info.get('master_port')}"
    return Finding(
        NAME,
        Severity.PROBLEM,
        f"this is a replica of {primary}: writes are refused (READONLY), so each process guards "
        "its calls alone",
        f"name the primary, {primary}, in the URL",
    )


def _primary(patient: Patient, info: dict[str, str]) -> Iterator[Finding]:
    least = int(patient.setting_or("min-replicas-to-write", "0"))
    good = int(info.get("min_slaves_good_slaves", least))
    if good < least:
        yield Finding(
            NAME,
            Severity.PROBLEM,
            f"min-replicas-to-write is {least} and {good} replicas are in touch: writes are refused"
            " (NOREPLICAS)",
            "bring the replicas back, or lower min-replicas-to-write",
        )
    yield Finding(
        NAME, Severity.OK, f"a primary with {info.get('connected_slaves', 'unknown')} replicas"
    )
