"""Servers that are only a voice: each says one thing to whatever it is asked, or nothing."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Speaker:
    """Listens on loopback and answers every command with the same bytes; a context manager.

    Args:
        answer: What it says; None for nothing, like a process that is frozen.
    """

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self._ear = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._ear.getsockname()[1]
        # How many connections it has seen.
        self.visits = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Hang up, and refuse whoever comes now; twice is no harm."""
        # Closing alone would not end the wait of the thread.
        with suppress(OSError):
            self._ear.shutdown(socket.SHUT_RDWR)
        self._ear.close()
        for each in self._open:
            each.close()

    def _listen(self) -> None:
        while True:
            try:
                line, _ = self._ear.accept()
            except OSError:
                return
            self.visits += 1
            self._open.append(line)
            if self._answer is not None:
                threading.Thread(target=self._talk, args=(line, self._answer), daemon=True).start()

    def _talk(self, line: socket.socket, answer: bytes) -> None:
        try:
            while heard := line.recv(65536):
                # redis-py introduces itself first; an error to that is all right.
                line.sendall(b"-ERR unknown command\r\n" if b"SETINFO" in heard else answer)
        except OSError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
