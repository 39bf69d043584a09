"""A breaker that was made and used before a fork works on both sides of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import RunningServer
from tests.support.workers_circuit import Keys

_ROOT = Path(__file__).parents[2]


def _run(scenario: str, server: RunningServer, prefix: str, seconds: float = 60.0) -> Any:
    """Run a scenario of `workers_forks` in a process of its own, without threads at first."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.workers_forks", scenario, server.url, prefix],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _totals(server: RunningServer, prefix: str) -> tuple[int, int]:
    keys = Keys(server.client(), prefix)
    return int(keys.field("total_successes")), int(keys.field("total_failures"))


@pytest.mark.parametrize("scenario", ["plain", "timeout"])
@pytest.mark.usefixtures("both_modes")
def test_parent_and_four_children_with_threads_count_exactly(
    any_server: RunningServer, prefix: str, scenario: str
) -> None:
    """Reports of the parent, before and after the fork, and of its children all count once."""
    told = _run(scenario, any_server, prefix)
    assert told["children"] == [0] * 4
    assert _totals(any_server, prefix) == tuple(told["expected"])


@pytest.mark.usefixtures("both_modes")
def test_forks_while_other_threads_call_leave_working_children(
    any_server: RunningServer, prefix: str
) -> None:
    """A fork at any moment of the parent's calls: no child hangs on a lock that was held."""
    told = _run("busy_parent", any_server, prefix)
    assert told["children"] == [0] * 60
    assert _totals(any_server, prefix) == tuple(told["expected"])


@pytest.mark.usefixtures("both_modes")
def test_forks_while_other_threads_make_breakers_leave_working_children(
    any_server: RunningServer, prefix: str
) -> None:
    """No lock of ours that a thread of the parent held at the fork stays locked in the child."""
    told = _run("opening_parent", any_server, prefix)
    assert told["children"] == [0] * 60
    assert _totals(any_server, prefix) == tuple(told["expected"])


@pytest.mark.usefixtures("both_modes")
def test_threads_that_all_make_their_first_call_in_a_new_child_do_not_hang(
    any_server: RunningServer, prefix: str
) -> None:
    """Eight threads of a child find out together that they are in one; in 60 children."""
    told = _run("first_calls", any_server, prefix)
    assert told["children"] == [0] * 60


@pytest.mark.usefixtures("both_modes")
def test_a_probe_that_was_running_at_the_fork_is_settled_once(
    any_server: RunningServer, prefix: str
) -> None:
    """Parent and child both leave the block; one result counts, one place was held and freed."""
    told = _run("inside_a_probe", any_server, prefix)
    assert told["children"] == [0]
    assert Keys(any_server.client(), prefix).field("successes") == "1"
    assert told["active_probes"] == 0


def test_successes_that_wait_at_the_fork_are_the_parents_to_report(
    any_server: RunningServer, prefix: str
) -> None:
    """The child begins with nothing; both sides go on with a feed and reports of their own."""
    told = _run("with_pending", any_server, prefix)
    assert told["children"] == [0]
    assert told["counted"] == told["expected"] == 25


@pytest.mark.usefixtures("both_modes")
def test_a_child_ends_an_open_period_that_it_knows_of(
    any_server: RunningServer, prefix: str
) -> None:
    """The parent's thread is not in it; its own begins with the first call that is rejected."""
    assert _run("recovering", any_server, prefix)["children"] == [0]


@pytest.mark.usefixtures("both_modes")
def test_parent_and_child_both_wait_for_a_circuit_to_close(
    any_server: RunningServer, prefix: str
) -> None:
    """The wait of a thread of the parent is none of the child's, which waits on its own."""
    assert _run("waiting", any_server, prefix) == {"children": [0], "closed": [True]}


def test_a_call_that_was_running_at_the_fork_counts_once(
    any_server: RunningServer, prefix: str
) -> None:
    """It was let through by the parent's view, so it is the parent's, success or failure."""
    told = _run("inside_a_call", any_server, prefix)
    assert told["children"] == [0, 0]
    assert _totals(any_server, prefix) == tuple(told["expected"])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.usefixtures("both_modes")
def test_multiprocessing_shares_the_circuit(
    any_server: RunningServer, prefix: str, method: str
) -> None:
    """Pools of every start method report to the same circuit, and reject when it is open."""
    told = _run(f"pool_{method}", any_server, prefix)
    assert told["counted"] == 40
    assert told["rejected"] == [True] * 4
