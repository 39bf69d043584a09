"""What the tests on servers share: both ways in which calls decide."""

from __future__ import annotations

import pytest

from tests.support.servers import discover
from tests.support.workers_circuit import CONSISTENCY_VARIABLE

_MODES = ("cached", "strict")


@pytest.fixture(params=_MODES)
def both_modes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test in cached and in strict mode, its worker processes included."""
    mode = str(request.param)
    monkeypatch.setenv(CONSISTENCY_VARIABLE, mode)
    return mode


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where a test runs on each server, its strict half runs on one: the rest is the scripts'."""
    kinds = [] if config.getoption("--fast") else list(discover())
    kept, left = [], []
    for item in items:
        (left if _is_repetition(item, kinds[:1]) else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def _is_repetition(item: pytest.Item, first: list[object]) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return (
        parameters.get("both_modes") == "strict"
        and "server" in parameters
        and parameters["server"] not in first
    )
