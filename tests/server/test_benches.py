"""The benches run, tell ratios and figures as documents, and leave nothing on the server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import RunningServer

_SCRIPTS = Path(__file__).parents[2] / "scripts"
_BENCHES = ("bench_hot_path.py", "bench_compare.py", "bench_fleet.py", "bench_window.py")
_LONGEST_SECONDS = 100.0
# What a bench compares with other libraries where they are installed; they are optional.
_OTHERS = re.compile(
    "pybreaker|circuitbreaker|purgatory|aiobreaker|asyncbreaker|interlock-cb|pyresilience"
)
pytestmark = pytest.mark.server


def run_bench(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a bench as a user would, roughly and as a document."""
    return subprocess.run(
        [sys.executable, _SCRIPTS / name, "--quick", "--json", *options],
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )


def document_of(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what a bench told; its exit code must be that of its bars."""
    assert finished.stderr == ""
    document: dict[str, Any] = json.loads(finished.stdout)
    missed = [name for name, ratio in document["ratios"].items() if ratio["met"] is False]
    assert finished.returncode == bool(missed)
    return document


@pytest.mark.parametrize("name", _BENCHES)
def test_bench_tells_ratios_then_figures(name: str, any_server: RunningServer) -> None:
    """A bench measures all its bars, tells one document, and leaves no key on the server."""
    with any_server.client() as client:
        before = set(client.scan_iter(match="*bench-*"))
        document = document_of(run_bench(name, "--url", any_server.admin_url))
        assert set(client.scan_iter(match="*bench-*")) <= before
    assert list(document)[:2] == ["ratios", "figures"]
    assert document["ratios"]
    assert document["figures"]
    assert all(_OTHERS.search(bar) for bar in document["unmeasured"])


def test_bench_starts_a_server_of_its_own() -> None:
    """Without a URL a bench brings its own server."""
    assert document_of(run_bench("bench_window.py"))["figures"]
