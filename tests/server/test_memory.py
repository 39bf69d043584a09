"""What circuits take in the memory of a process, and that calls leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.servers import RunningServer

_ROOT = Path(__file__).parents[2]


def _run(job: str, server: RunningServer, prefix: str) -> Any:
    """Do a job of `workers_memory` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.workers_memory", job, server.url, prefix],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ten_thousand_idle_circuits_take_less_than_forty_megabytes(
    any_server: RunningServer, prefix: str
) -> None:
    """Breakers, views and subscriptions together; threads are as many as for one circuit."""
    told = _run("idle_circuits", any_server, prefix)
    assert told["megabytes"] < 40.0, told
    assert told["believed"] == 10_000
    # The feed and the reports; the first call had begun with neither or one.
    assert told["threads"][1] <= 3, told


def test_a_million_calls_leave_nothing_behind(any_server: RunningServer, prefix: str) -> None:
    """Nor do a hundred thousand rejections, for as long as they are reported."""
    left = _run("many_calls", any_server, prefix)
    assert left["calls"] < 8 * 1024, left
    # Answers to reports are remembered, a bounded number of them.
    assert left["rejections"] < 32 * 1024, left
