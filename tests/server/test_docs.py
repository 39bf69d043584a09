"""The code in the documentation runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import RunningServer

pytestmark = pytest.mark.calm

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(found.group(1), id=f"{path.name}-{number}")
    for path in (ROOT / "README.md", ROOT / "docs" / "ARCHITECTURE.md")
    for number, found in enumerate(BLOCK.finditer(path.read_text()), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_code_blocks_run(block: str, any_server: RunningServer) -> None:
    """Each Python block of the documentation runs on its own and warns of nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env={**os.environ, "BB5_REDIS_URL": any_server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_there_are_blocks() -> None:
    """The documentation has code, and the pattern finds it."""
    assert len(BLOCKS) >= 5
