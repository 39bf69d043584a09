"""The Lua scripts: what each takes, and where its source is found."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["SCRIPTS", "Script", "lua_directory"]

_CIRCUIT: Final = ("circuit", "window", "probes", "cooldown", "events")
_WITH_SENDER: Final = (*_CIRCUIT, "sender")
_WITH_FORGOTTEN: Final = (*_CIRCUIT, "forgotten")
_INCLUDE = re.compile(r"^ *-- INCLUDE: (.+)$", re.MULTILINE)


def lua_directory() -> Path:
    """Return the folder of the Lua sources: in the installed package, or in the checkout.

    Raises:
        RuntimeError: Neither has them; the message names both places.
    """
    package = Path(__file__).resolve().parent.parent
    places = (package / "_lua", package.parent / "lua")
    for place in places:
        if (place / "admit.lua").is_file():
            return place
    raise RuntimeError(
        f"the Lua scripts are neither in {places[0]} nor in {places[1]}; "
        "install the bb5-breaker package again"
    )


@dataclass(frozen=True, slots=True)
class Script:
    """One operation: a Lua file with the parts of the prelude that it includes.

    Args:
        name: Name of the operation and of its file.
        keys: Names of KEYS in order, as its header says.
        argv: Names of ARGV in order, as its header says.
        source: The whole script as the server gets it.
        sha: SHA-1 of the source: its name on the server.
    """

    name: str
    keys: tuple[str, ...]
    argv: tuple[str, ...]
    source: str
    sha: str

    @property
    def named_argv(self) -> tuple[str, ...]:
        """ARGV without the repeated pairs that ``record`` ends with."""
        return self.argv[:-3] if self.argv[-1] == "..." else self.argv

    def line(self, number: int) -> str:
        """Return one line of the source, counted from 1; empty when there is none."""
        lines = self.source.splitlines()
        return lines[number - 1] if 0 < number <= len(lines) else ""


def _assemble(folder: Path, text: str) -> str:
    """Return a text with the parts of the prelude where it, and they, include them."""

    def read(found: re.Match[str]) -> str:
        names = [name.strip() for name in found.group(1).split(",")]
        parts = [folder / "prelude" / f"{name}.lua" for name in names]
        return "\n".join(_assemble(folder, part.read_text(encoding="utf-8")) for part in parts)

    return _INCLUDE.sub(read, text)


def _script(name: str, keys: tuple[str, ...], argv: str) -> Script:
    # Read at once: whatever is made later, under a lock, could be half made when
    # another thread forks.
    folder = lua_directory()
    source = _assemble(folder, (folder / f"{name}.lua").read_text(encoding="utf-8"))
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, keys, tuple(argv.split()), source, sha)


SCRIPTS: Final = {
    script.name: script
    for script in (
        _script("admit", _WITH_SENDER, "now_ms service owner sequence policy token purpose"),
        _script(
            "record",
            _WITH_SENDER,
            "now_ms service owner sequence policy generation epoch error age_ms outcome count ...",
        ),
        _script(
            "settle",
            _CIRCUIT,
            "now_ms service owner policy generation epoch token outcome error",
        ),
        _script("extend", _CIRCUIT, "now_ms policy token"),
        _script("promote", _CIRCUIT, "now_ms service owner policy"),
        _script(
            "restore",
            _WITH_FORGOTTEN,
            "now_ms service owner policy generation epoch state remaining_ms known_ms failures "
            "error",
        ),
        _script("reset", _WITH_SENDER, "now_ms service owner sequence policy"),
        _script("clear", _WITH_SENDER, "now_ms sequence"),
        _script("count_rejections", _WITH_SENDER, "now_ms sequence epoch count"),
        _script("look", _CIRCUIT, "now_ms"),
        _script("snapshot", _CIRCUIT, "now_ms"),
        _script("forget", _WITH_FORGOTTEN, "now_ms service policy"),
    )
}
