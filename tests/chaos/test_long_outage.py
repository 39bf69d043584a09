"""A server that is gone for longer than a circuit is open: each process goes on by itself."""

from __future__ import annotations

import time

import pytest

from tests.server.circuits import eventually
from tests.support.servers import RunningServer, start
from tests.support.workers import Assignment, Crew
from tests.support.workers_circuit import Keys

_WORKERS = 3
_OPEN_SECONDS = 0.6
_PLACES = 2
_RULES = {
    "failure_threshold": 1,
    "timeout_seconds": _OPEN_SECONDS,
    "reset_timeout": 0.0,
    "success_threshold": 4,
    "half_open_max_calls": _PLACES,
}
_SETTINGS = {"store_timeout": 1.0, "store_retry_interval": 0.1, "heartbeat_interval": 0.3}


def _most_at_once(ran: list[list[float]]) -> int:
    """Return how many calls ran at the same time at most."""
    moments = sorted([(begun, 1) for begun, _ in ran] + [(ended, -1) for _, ended in ran])
    inside = most = 0
    for _, step in moments:
        inside += step
        most = max(most, inside)
    return most


@pytest.mark.usefixtures("both_modes")
def test_each_process_probes_by_the_rules_and_closes_for_itself(
    any_server: RunningServer, prefix: str
) -> None:
    """At most the allowed probes at a time in each; closed when the server is back, too."""
    config = {"appendonly": "yes", "appendfsync": "always"}
    with (
        start(any_server.kind, config=config) as server,
        Crew(_WORKERS, Assignment(server.url, prefix, config=_RULES, settings=_SETTINGS)) as crew,
    ):
        crew.ask_all("calls", outcomes="s")
        crew.workers[0].ask("calls", outcomes="f")
        tripped = time.monotonic()
        assert crew.ask_all("calls", outcomes="s") == ["r"] * _WORKERS
        server.kill()
        until = tripped + _OPEN_SECONDS + 0.8
        seen = crew.ask_all("watched_calls", until=until, hold=0.05, threads=6)
        for ran in seen:
            assert ran[0][0] >= tripped + _OPEN_SECONDS - 0.05
            # The probes that it takes to close: none of them ends before the others began.
            assert _most_at_once(ran[: _RULES["success_threshold"]]) <= _PLACES
            assert _most_at_once(ran) > _PLACES, "it never closed"
        server.restart()
        keys = Keys(server.client(), prefix)
        # What the store knows is of before the outage: the fleet's probes, or what the
        # processes bring along, close it there as well.
        eventually(
            lambda: crew.ask_all("calls", outcomes="s") and keys.field("state") == "closed",
            "closed for all",
        )
        assert crew.ask_all("calls", outcomes="s") == ["s"] * _WORKERS
        states = [state for state, _ in keys.transitions()]
    assert states[0] == "open"
    assert states.count("closed") == 1


@pytest.mark.usefixtures("both_modes")
def test_a_failed_probe_reopens_in_its_process_alone(
    own_server: RunningServer, prefix: str
) -> None:
    """One process goes on rejecting, the others have closed for themselves."""
    rules = {**_RULES, "success_threshold": 1, "half_open_max_calls": 1}
    assignment = Assignment(own_server.url, prefix, config=rules, settings=_SETTINGS)
    with Crew(2, assignment) as crew:
        crew.ask_all("calls", outcomes="s")
        crew.workers[0].ask("calls", outcomes="f")
        assert crew.ask_all("calls", outcomes="s") == ["r"] * 2
        own_server.kill()
        time.sleep(_OPEN_SECONDS)
        unlucky, lucky = crew.workers
        assert unlucky.ask("calls", outcomes="fs") == "fr"
        assert lucky.ask("calls", outcomes="ss") == "ss"
        time.sleep(_OPEN_SECONDS)
        assert unlucky.ask("calls", outcomes="ss") == "ss"
