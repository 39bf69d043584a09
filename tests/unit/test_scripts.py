"""The Lua files, their headers and what Python believes of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bb5_breaker._core import commands
from bb5_breaker._core.commands import Command
from bb5_breaker._core.replies import Verdict
from bb5_breaker._store.codec import _SCRIPT_OF
from bb5_breaker._store.scripts import SCRIPTS, Script, lua_directory

LUA = Path(__file__).resolve().parents[2] / "lua"
INCLUDE = re.compile(r"^ *-- INCLUDE: (.+)$", re.MULTILINE)
HEADER = re.compile(r"\A((?:-- .*\n)+)")
ALL = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())


def header_of(name: str) -> dict[str, str]:
    """Return the header of an operation by its titles, continued lines joined."""
    found = HEADER.match((LUA / f"{name}.lua").read_text())
    assert found, f"{name}.lua does not begin with a header"
    fields: dict[str, str] = {}
    title = ""
    for line in found.group(1).splitlines():
        titled = re.match(r"-- ([A-Z]+): (.*)", line)
        if titled:
            title, text = titled.groups()
            fields[title] = text
        else:
            fields[title] += " " + line.removeprefix("--").strip()
    return fields


@ALL
def test_header_agrees_with_the_codec(script: Script) -> None:
    """Each file's header names the keys and arguments that Python sends, in their order."""
    header = header_of(script.name)
    assert list(header) == ["PURPOSE", "KEYS", "ARGV", "REPLY"]
    assert tuple(header["KEYS"].split(", ")) == script.keys
    assert tuple(header["ARGV"].split(", ")) == script.argv


@ALL
def test_reply_names_known_verdicts(script: Script) -> None:
    """Each verdict that a header promises is known to Python, and given somewhere in the file."""
    promised = re.search(r"verdict \(([^)]*)\)", header_of(script.name)["REPLY"])
    if promised is None:
        assert script.name == "snapshot"
        return
    body = (LUA / f"{script.name}.lua").read_text()
    names = set(promised.group(1).split(", "))
    assert names <= {verdict.value for verdict in Verdict}
    assert all(re.search(rf"'{name}(\\n|')", body) for name in names)


@ALL
def test_arguments_are_read_at_the_place_the_header_names(script: Script) -> None:
    """A file reads no ARGV beyond those of its header, and no key beyond its KEYS."""
    highest = max(map(int, re.findall(r"ARGV\[(\d+)\]", script.source)), default=1)
    assert highest <= len(script.argv)
    assert max(map(int, re.findall(r"KEYS\[(\d+)\]", script.source))) <= len(script.keys)


def test_every_file_is_an_operation_and_every_command_has_one() -> None:
    """The list of files, the scripts and the commands name the same operations."""
    files = {path.stem for path in LUA.glob("*.lua")}
    members = set(Command.__args__)
    assert files == set(SCRIPTS)
    assert {_SCRIPT_OF[command].name for command in members} == files
    assert {command.__name__ for command in members} == set(commands.__all__) - {
        "Command",
        "Outcome",
        "Purpose",
        "Run",
    }


@ALL
def test_included_parts_are_used_and_come_once(script: Script) -> None:
    """A file includes a part of the prelude once at most, and something of it is used."""
    body = (LUA / f"{script.name}.lua").read_text()
    parts = [part for line in INCLUDE.findall(body) for part in line.split(", ")]
    assert len(parts) == len(set(parts))
    sources = {part: (LUA / "prelude" / f"{part}.lua").read_text() for part in parts}
    for part, source in sources.items():
        names = re.findall(r"^local (?:function )?(\w+)", source, re.MULTILINE)
        others = body + "".join(text for other, text in sources.items() if other != part)
        assert any(re.search(rf"\b{name}\b", others) for name in names), part


@ALL
def test_every_include_is_replaced(script: Script) -> None:
    """The assembled script holds no include line, and no part of the prelude is left unused."""
    assert not INCLUDE.search(script.source)
    used = " ".join(
        line for path in LUA.rglob("*.lua") for line in INCLUDE.findall(path.read_text())
    )
    names = set(used.replace(",", " ").split())
    assert names == {path.stem for path in (LUA / "prelude").glob("*.lua")}


@ALL
def test_a_script_stays_far_from_the_limit_of_locals(script: Script) -> None:
    """Lua allows 200 locals; a script keeps below a quarter of that."""
    assert len(re.findall(r"^local ", script.source, re.MULTILINE)) < 50


@ALL
def test_no_script_begins_with_a_shebang_or_scans(script: Script) -> None:
    """Redis 6.2 refuses a shebang, and a script must touch only the keys it is given."""
    assert not script.source.startswith("#!")
    assert not re.search(r"redis\.p?call\('(SCAN|KEYS|RANDOMKEY)'", script.source)


def test_sources_are_found_in_the_checkout() -> None:
    """Without a packaged copy the loader takes the checkout's files."""
    assert lua_directory().samefile(LUA)
