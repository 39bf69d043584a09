"""Servers run in Docker containers, for versions that no package brings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import least_user
from .kinds import ServerKind
from .processes import free_port
from .running import START_SECONDS, Config, RunningServer

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

_INSIDE_PORT = 6379


class ContainerServer(RunningServer):
    """A server in a container, reached over TCP; removed with the test process by testcontainers.

    Args:
        kind: what to start.
        config: settings over those of a server without persistence.
    """

    def __init__(self, kind: ServerKind, config: Config) -> None:
        super().__init__(kind, config)
        # A port of our choice, as one of Docker's choice would change with a restart.
        self._port = free_port()
        self._container = self._make_container()
        try:
            self._container.start()
            self._await_readiness()
        except BaseException:
            self.stop()
            raise

    @property
    def socket(self) -> None:
        """None: a container shares no Unix socket."""
        return None

    @property
    def port(self) -> int:
        """The TCP port that is forwarded to the server."""
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the server, as the machine of the Docker engine counts."""
        container = self._container.get_wrapped_container()
        container.reload()
        return int(container.attrs["State"]["Pid"])

    def stop(self) -> None:
        """End the server and remove its container."""
        self._container.stop()

    def kill(self) -> None:
        """End the server at once; restart() brings it back."""
        self._container.get_wrapped_container().kill()

    def pause(self) -> None:
        """Freeze the container."""
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        """Let the container go on."""
        self._container.get_wrapped_container().unpause()

    def restart(self) -> None:
        """Start the server anew at the same address, ending it in good order if it runs."""
        self._container.get_wrapped_container().restart()
        self._await_readiness()

    def _locate(self, credentials: str) -> str:
        """Over TCP."""
        host = self._container.get_container_host_ip()
        return f"redis://{credentials}{host}:{self._port}/0"

    def _make_container(self) -> DockerContainer:
        from testcontainers.core.container import DockerContainer

        container = DockerContainer(self.kind.where).with_bind_ports(_INSIDE_PORT, self._port)
        settings: Config = {
            "save": "",
            "appendonly": "no",
            "protected-mode": "no",
            **least_user.settings(),
            **self.config,
        }
        return container.with_command(list(_arguments(settings)))

    def _await_readiness(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                output, errors = self._container.get_logs()
                log = (output + errors).decode(errors="replace")
                raise self.start_error("did not answer PING in time", log)
            time.sleep(0.05)


def _arguments(settings: Config) -> Iterator[str]:
    for name, value in settings.items():
        for each in value if isinstance(value, list) else [value]:
            yield f"--{name}"
            # An empty value is written "" in a file and is an empty word here.
            yield from str(each).replace('""', "").split(" ")
