"""The specification's own code, cut out of its text so that tests can run it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

PLACE_VARIABLE = "BB5_SPECIFICATION"
_BESIDE = Path(__file__).parents[2] / ".." / "shared" / "spec" / "blackbox5-circuit-breaker.md"
_HEADING = re.compile(r"(#+) (?:\d+\. )?(.*)")
_OLD_PREFIX = "blackbox5.engine.core."
_NEW_PREFIX = "bb5_breaker."


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of Python.

    Args:
        name: the headings above it within its chapter, and its number when they have several.
        line: its first line in the specification.
        text: what it says, with the package's name in place of the old one.
    """

    name: str
    line: int
    text: str

    @property
    def code(self) -> CodeType:
        """The block, ready to be executed; errors point into the specification."""
        tree = ast.parse(self.text)
        ast.increment_lineno(tree, self.line - 1)
        return compile(tree, "specification", "exec")

    @property
    def signature(self) -> ast.arguments:
        """The parameters of a block that is a mere signature."""
        return self._definition.args

    @property
    def called(self) -> str:
        """The name that a mere signature is for."""
        return self._definition.name

    @property
    def dicts(self) -> list[dict[str, Any]]:
        """The literal dicts in the block, in their order."""
        statements = ast.parse(self.text).body
        return [ast.literal_eval(each.value) for each in statements if isinstance(each, ast.Expr)]

    @property
    def _definition(self) -> ast.FunctionDef:
        lines = [line for line in self.text.splitlines() if not line.startswith("@")]
        definition = ast.parse(f"def {' '.join(lines)}: ...").body[0]
        assert isinstance(definition, ast.FunctionDef)
        return definition


def find_specification() -> Path | None:
    """Return the path of the specification; None when it is not on this machine.

    Raises:
        FileNotFoundError: BB5_SPECIFICATION names no file.
    """
    named = os.environ.get(PLACE_VARIABLE)
    if named and not Path(named).is_file():
        raise FileNotFoundError(f"{PLACE_VARIABLE} is {named}, which is no file")
    place = Path(named) if named else _BESIDE
    return place if place.is_file() else None


def read_blocks(text: str) -> dict[str, Block]:
    """Return the Python blocks of a Markdown text by name, in their order."""
    blocks: dict[str, Block] = {}
    for headings, line, code in _fenced(text):
        base = " / ".join(headings[2:])
        number = sum(name.partition(" #")[0] == base for name in blocks) + 1
        name = base if number == 1 else f"{base} #{number}"
        blocks[name] = Block(name, line, code.replace(_OLD_PREFIX, _NEW_PREFIX))
    return blocks


def _fenced(text: str) -> Iterator[tuple[list[str], int, str]]:
    """Yield the headings above each Python block, its first line, and its code."""
    headings: list[str] = []
    language: str | None = None
    begun, lines = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            if language == "python":
                yield list(headings), begun, "\n".join(lines)
            language = line[3:] or "text" if language is None else None
            begun, lines = number + 1, []
        elif language is not None:
            lines.append(line)
        elif found := _HEADING.match(line):
            depth = len(found[1])
            headings[depth - 1 :] = [found[2]]
