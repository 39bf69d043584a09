"""Names of keys. All keys of a circuit carry one hash tag, so they share a Cluster slot."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CircuitKeys", "group_key", "registry_key"]


@dataclass(frozen=True, slots=True)
class CircuitKeys:
    """The keys of one circuit, in the order in which every script takes them.

    ``forgotten`` is only for those scripts that name it.
    """

    circuit: bytes
    window: bytes
    probes: bytes
    cooldown: bytes
    events: bytes
    forgotten: bytes

    @staticmethod
    def of(prefix: str, service: str) -> CircuitKeys:
        """Return the keys of a checked service id under a checked prefix."""
        base = f"{prefix}:{{{service}}}"
        return CircuitKeys(
            circuit=base.encode(),
            window=f"{base}:window".encode(),
            probes=f"{base}:probes".encode(),
            cooldown=f"{base}:cooldown".encode(),
            events=f"{base}:events".encode(),
            forgotten=f"{base}:forgotten".encode(),
        )

    @property
    def all(self) -> tuple[bytes, ...]:
        """What every script takes."""
        return (self.circuit, self.window, self.probes, self.cooldown, self.events)

    def sender(self, name: str) -> bytes:
        """Return the key that remembers the last report of one sender."""
        return b"%b:sender:%b" % (self.circuit, name.encode())


def registry_key(prefix: str) -> bytes:
    """Return the key of the registry of services; it has a slot of its own."""
    return f"{prefix}:services".encode()


def group_key(prefix: str, group: str) -> bytes:
    """Return the key that remembers from where on a consumer group is told."""
    return f"{prefix}:group:{group}".encode()
