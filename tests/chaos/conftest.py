"""The fixtures of the tests on servers, for those that harm them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.conftest import _own_settings, both_modes, client, own_server, run
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer

__all__ = ["_own_settings", "both_modes", "client", "own_server", "proxy", "run"]


@pytest.fixture
def proxy(own_server: RunningServer) -> Iterator[Proxy]:
    """What stands between the process and `own_server`."""
    with Proxy(own_server.url) as proxy:
        yield proxy
