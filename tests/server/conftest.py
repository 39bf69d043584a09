"""What the tests on servers share: settings, servers of their own, loops, both ways to decide."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from bb5_breaker.event_bus import RedisEventBus
from tests.support.buses import Buses
from tests.support.loops import RUNNERS, Run
from tests.support.servers import RunningServer, discover, start
from tests.support.workers_circuit import CONSISTENCY_VARIABLE, settings_restored

_MODES = ("cached", "strict")


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    """Leave the settings of this process as they were."""
    with settings_restored():
        yield


@pytest.fixture
def own_server(any_server: RunningServer) -> Iterator[RunningServer]:
    """A server that nobody else talks to, and that the test may harm."""
    with start(any_server.kind) as server:
        yield server


@pytest.fixture
def client(own_server: RunningServer) -> redis.Redis:
    """A client of `own_server`."""
    return own_server.client()


@pytest.fixture
def buses(server: RunningServer, prefix: str) -> Iterator[Buses]:
    """Buses on each kind of server, with a prefix of the test's own."""
    made = Buses(server.url, prefix)
    yield made
    made.close()


@pytest.fixture
def bus(any_server: RunningServer, prefix: str) -> Iterator[RedisEventBus]:
    """A connected bus, where the kind of server makes no difference."""
    made = Buses(any_server.url, prefix)
    yield made.connect()
    made.close()


@pytest.fixture
def own_buses(own_server: RunningServer, prefix: str) -> Iterator[Buses]:
    """Buses on a server that the test may harm."""
    made = Buses(own_server.url, prefix)
    yield made
    made.close()


@pytest.fixture(params=RUNNERS)
def run(request: pytest.FixtureRequest) -> Run:
    """What runs a coroutine, on each kind of loop."""
    runner: Run = request.param
    return runner


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
