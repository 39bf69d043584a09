"""scripts/soak.py: a short run passes, and what it looks for it finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]


def _soak(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/soak.py", *options]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)


def test_a_fleet_comes_through_ten_seconds_of_faults() -> None:
    """Random faults with a fixed seed; the report tells it."""
    done = _soak("--seconds", "10", "--workers", "6", "--seed", "11")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 11" in done.stdout
    assert "0 met an error of the store" in done.stdout


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_a_fleet_comes_through_two_minutes_of_faults(seed: int) -> None:
    """The same for longer."""
    done = _soak("--seconds", "120", "--seed", str(seed))
    assert done.returncode == 0, done.stdout + done.stderr
