"""The processes that the demo starts: none outlives it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bb5_breaker.demo.records import Record, decode

__all__ = ["Child"]

_GRACE: Final = 5.0


class Child:
    """A process that runs a module of the demo and tells records.

    It ends when its standard input does, so also when this process is killed. A Ctrl-C in the
    terminal does not reach it: it is for this process, which then ends all.

    Args:
        name: For people.
        module: What it runs.
        arguments: Its arguments.
        log: File for what it writes to stderr; nothing, when all is well.
        take: Takes each record, on a thread of this child.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: list[str],
        log: Path,
        take: Callable[[Record], None],
    ) -> None:
        self.name = name
        self._log = log
        self._take = take
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """True once it is gone."""
        return self._process.poll() is not None

    @property
    def complaint(self) -> str:
        """The last line that it wrote to stderr; empty when it wrote none."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def tell(self, line: str) -> None:
        """Write a line to its standard input; one that has ended does not hear it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return

    def dismiss(self) -> None:
        """Ask it to end; returns at once."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            return

    def end(self) -> None:
        """End it, and take the records that it told last."""
        self.dismiss()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_GRACE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._take(decode(line))
