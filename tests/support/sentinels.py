"""A primary, two replicas and three sentinels, all real and all on loopback."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import pytest
import redis
from redis.sentinel import Sentinel

from . import least_user
from .buses import wait_until
from .kinds import Origin, ServerKind, discover
from .processes import LocalServer, start_on_free_port
from .running import Config, ConfigValue
from .workers_circuit import settings_restored

_REPLICAS = 2
# What a server may be told, and a sentinel not.
_OF_SERVERS = ("save ", "appendonly ", "user ")
# One sees that the primary is down long before the others do, so that none of them competes with
# it for their votes: a vote that is split is repeated only seconds later.
_DOWN_AFTER_MS = (500, 3000, 3000)
# Where a server has the order: sentinels that find each other, and what fails, in a moment. After
# four publish-periods they demote whoever claims to be the primary and has not told them why.
_QUICK = {"info-period": 200, "ping-period": 100, "ask-period": 100, "publish-period": 500}


class SentinelServer(LocalServer):
    """One sentinel."""

    def _words(self) -> list[str]:
        return [*super()._words(), "--sentinel"]

    def _settings(self) -> str:
        lines = super()._settings().splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(_OF_SERVERS))


class SentinelSet:
    """Servers of one kind under the name ``primary``, looked after by sentinels.

    Args:
        kind: What to start.
        password: Of the servers; empty for none.
        sentinel_password: Of the sentinels; empty for none.
    """

    service = "main"

    def __init__(self, kind: ServerKind, password: str = "", sentinel_password: str = "") -> None:
        self.kind = kind
        self._password = password
        self._sentinel_password = sentinel_password
        self.servers: list[LocalServer] = []
        self.sentinels: list[SentinelServer] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The URL that our library takes."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        query = f"?sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        return f"redis+sentinel://{self._login}{hosts}/{self.service}/0{query}"

    @property
    def _login(self) -> str:
        """What stands before the hosts: of the user of this test run, or with the password."""
        if self._password:
            return f":{self._password}@"
        return least_user.CREDENTIALS if least_user.is_wanted() else ""

    @property
    def primary(self) -> LocalServer:
        """The server that the sentinels name."""
        port = self.named_port()
        return next(each for each in self.servers if each.port == port)

    def named_port(self) -> int:
        """Return the port that a sentinel that answers names."""
        for sentinel in self.sentinels:
            with self._ask(sentinel) as client:
                try:
                    found = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self.service)
                except redis.RedisError:
                    continue
                return int(found[1])
        raise AssertionError("no sentinel answers")

    def manager(self, **options: Any) -> Sentinel:
        """Return redis-py's own way to ask these sentinels."""
        return Sentinel(
            [("127.0.0.1", each.port) for each in self.sentinels],
            sentinel_kwargs={"password": self._sentinel_password or None},
            **dict(zip(("username", "password"), self._login[:-1].split(":"), strict=False)),
            **options,
        )

    def client(self) -> redis.Redis:
        """Return a client of the server that is the primary now."""
        return self.primary.client(decode_responses=True)

    def order_failover(self) -> None:
        """Have the sentinels promote another server while the primary lives on."""
        before = self.named_port()
        self._await_order()
        with self._ask(self.sentinels[0]) as client:
            client.execute_command("SENTINEL FAILOVER", self.service)
        self.await_other(before)

    def await_other(self, port: int, seconds: float = 45.0) -> None:
        """Wait until the sentinels name another primary."""
        wait_until(lambda: self.named_port() != port, "another primary is named", seconds)

    def bring_back(self, server: LocalServer) -> None:
        """Restart a server that was killed as a replica of the primary."""
        server.config["replicaof"] = f"127.0.0.1 {self.named_port()}"
        server.restart()
        self._await_order()

    def stop(self) -> None:
        """End all."""
        # At once: a primary that ends in good order waits for its replicas for seconds.
        for each in (*self.sentinels, *self.servers):
            each.kill()
            each.stop()

    def _start(self) -> None:
        login: Config = (
            {"requirepass": self._password, "masterauth": self._password} if self._password else {}
        )
        common = {"repl-diskless-sync-delay": 0, "repl-ping-replica-period": 1, **login}
        primary = self._start_server(common)
        for _ in range(_REPLICAS):
            self._start_server({**common, "replicaof": f"127.0.0.1 {primary.port}"})
        for down_after_ms in _DOWN_AFTER_MS:
            self.sentinels.append(self._start_sentinel(primary.port, down_after_ms))
        self._await_order()

    def _start_server(self, config: Config) -> LocalServer:
        server = start_on_free_port(self.kind, config, LocalServer)
        self.servers.append(server)
        return server

    def _start_sentinel(self, port: int | None, down_after_ms: int) -> SentinelServer:
        name = self.service
        orders = [
            f"monitor {name} 127.0.0.1 {port} 1",
            f"down-after-milliseconds {name} {down_after_ms}",
            f"failover-timeout {name} 1500",
        ]
        if self._password:
            orders.append(f"auth-pass {name} {self._password}")
        config: dict[str, ConfigValue] = {"sentinel": orders}
        if self._sentinel_password:
            config["requirepass"] = self._sentinel_password
            orders.append(f"sentinel-pass {self._sentinel_password}")
        sentinel = start_on_free_port(self.kind, config, SentinelServer)
        with self._ask(sentinel) as client:
            for period, milliseconds in _QUICK.items():
                try:
                    client.execute_command("SENTINEL DEBUG", period, milliseconds)
                except redis.ResponseError:
                    break
        return sentinel

    def _await_order(self) -> None:
        wait_until(lambda: all(map(self._sees_all, self.sentinels)), "the sentinels see all")
        # Its first state is the primary's: a replica that still loads it can not be promoted.
        wait_until(self._is_replicated, "the replicas follow")

    def _sees_all(self, sentinel: SentinelServer) -> bool:
        with self._ask(sentinel) as client:
            try:
                found = client.sentinel_masters()[self.service]
                replicas = client.sentinel_slaves(self.service)
            except redis.RedisError:
                return False
        return (
            found["num-other-sentinels"] == len(self.sentinels) - 1
            and found["flags"] == "master"
            and sum(each["flags"] == "slave" for each in replicas) >= self._alive() - 1
            and all(each["master-link-status"] == "ok" for each in replicas[: self._alive() - 1])
        )

    def _alive(self) -> int:
        return sum(each.is_running for each in self.servers)

    def _is_replicated(self) -> bool:
        with self.primary.client() as client:
            found = client.info("replication")
        return int(found["connected_slaves"]) >= self._alive() - 1

    def _ask(self, sentinel: SentinelServer) -> redis.Redis:
        return sentinel.client(
            password=self._sentinel_password or None, decode_responses=True, socket_timeout=1.0
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """Leave the settings of this process as they were."""
    with settings_restored():
        yield


@pytest.fixture
def name() -> str:
    """A prefix of keys for one test."""
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def sentinel_set(fleet: object) -> Iterator[SentinelSet]:
    """Servers and sentinels that the tests of a module share; whoever harms them puts it right."""
    kinds = [kind for kind in discover() if kind.origin is not Origin.DOCKER]
    if not kinds:
        pytest.skip("no server found that sentinels can be made of")
    with SentinelSet(kinds[0]) as made:
        yield made
