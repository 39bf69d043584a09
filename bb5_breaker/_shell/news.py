"""Who is to be told that something happened to a circuit, as this process knows it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bb5_breaker._store.forks import renew_in_children

__all__ = ["News"]

Ear = Callable[[], object]


class News:
    """Calls whoever waits for a circuit; what happened he has to see for himself. Thread-safe.

    Where nobody waits it costs a look into an empty dict.
    """

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Tell nobody: the threads and loops of the parent do not wait in a child."""
        self._lock = threading.Lock()
        self._ears: dict[str, tuple[Ear, ...]] = {}

    def tell(self, service: str, ear: Ear) -> None:
        """Have something called after each change, by any thread; it must neither block nor
        raise."""
        with self._lock:
            self._ears[service] = (*self._ears.get(service, ()), ear)

    def cancel(self, service: str, ear: Ear) -> None:
        """Have it called no more."""
        with self._lock:
            left = tuple(one for one in self._ears.get(service, ()) if one is not ear)
            if left:
                self._ears[service] = left
            else:
                self._ears.pop(service, None)

    def spread(self, service: str) -> None:
        """Something happened to one circuit."""
        for ear in self._ears.get(service, ()):
            ear()

    def spread_all(self) -> None:
        """Something happened that concerns all circuits."""
        if self._ears:
            with self._lock:
                everybody = list(self._ears.values())
            for ears in everybody:
                for ear in ears:
                    ear()
