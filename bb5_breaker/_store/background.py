"""The threads that work behind the calls: one of a kind, begun when there is something to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Background"]


class Background:
    """One daemon thread at the most, begun anew whenever there is none. Thread-safe.

    A signal's handler may raise in whoever begins it, at any line. Then nobody knows whether the
    thread runs: it is disowned, ends by itself as it looks at :attr:`is_current`, and the next
    one who needs it begins another.

    Args:
        name: Name of the thread.
    """

    __slots__ = ("_name", "_starting", "_thread")

    def __init__(self, name: str) -> None:
        self._name = name
        self.forget()

    def forget(self) -> None:
        """Have no thread, as in the child of a fork."""
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """True when there is a thread, as far as is known."""
        return self._thread is not None

    @property
    def is_current(self) -> bool:
        """True on the thread itself, unless it was disowned."""
        return threading.current_thread() is self._thread

    def start(self, work: Callable[..., Any], *args: Any) -> None:
        """Begin the thread, unless there is one or the process is ending and takes none."""
        thread = threading.Thread(target=work, args=args, name=self._name, daemon=True)
        with self._starting:
            if self._thread is not None:
                return
            try:
                self._thread = thread
                thread.start()
            except RuntimeError:
                self._thread = None
            except BaseException:
                self._thread = None
                raise

    def leave(self) -> None:
        """Let the next one who needs it begin another; called by the thread, before it ends."""
        with self._starting:
            if self.is_current:
                self._thread = None

    def join(self, seconds: float) -> bool:
        """Wait for its end; False when it still runs after that time."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()
