"""Whether a Docker engine answers; a machine may have its client and no engine."""

from __future__ import annotations

import os
from pathlib import Path

_SOCKETS = (Path("/var/run/docker.sock"), Path.home() / ".docker/run/docker.sock")


def engine_answers() -> bool:
    """Ask the Docker engine for a sign of life, for two seconds at most."""
    if "DOCKER_HOST" not in os.environ and not any(path.exists() for path in _SOCKETS):
        return False
    try:
        import docker
    except ImportError:
        return False
    try:
        # Making a client asks the engine for its version, so nothing more need be asked.
        engine = docker.DockerClient.from_env(timeout=2)
    except docker.errors.DockerException:
        return False
    engine.close()
    return True
