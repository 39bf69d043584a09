"""A way to wake a thread that waits for a socket."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["Waker"]


class Waker:
    """Becomes readable when woken. :meth:`wake` is thread-safe and never blocks."""

    def __init__(self) -> None:
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._mouth.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._ear.fileno()

    def wake(self) -> None:
        """Wake the thread; nothing happens when it has ended."""
        # A full buffer is as good as one more byte; a closed socket has nobody to wake.
        with contextlib.suppress(OSError):
            self._mouth.send(b"!")

    def hush(self) -> None:
        """Forget all calls so far."""
        with contextlib.suppress(BlockingIOError):
            while self._ear.recv(4096):
                pass

    def close(self) -> None:
        """Let go of the descriptors."""
        self._ear.close()
        self._mouth.close()
