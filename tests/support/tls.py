"""Servers that speak TLS, and certificates that last as long as the tests."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from . import least_user
from .kinds import Origin, ServerKind, discover
from .processes import LocalServer, start_on_free_port
from .running import ConfigValue, ServerStartError
from .sentinels import SentinelServer

HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of one certificate.

    Args:
        cert: Path of the certificate.
        key: Path of its key.
    """

    cert: Path
    key: Path


class Authority:
    """One that signs certificates; a context manager that removes its files."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bb5-tls-")
        self._authority = trustme.CA()
        self._numbers = count()
        self.path = self._folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.path)

    def issue(self, *hosts: str, not_after: datetime | None = None) -> Certificate:
        """Return a new certificate for these hosts."""
        made = self._authority.issue_cert(*hosts, not_after=not_after)
        number = next(self._numbers)
        found = Certificate(self._folder / f"{number}.pem", self._folder / f"{number}.key")
        made.cert_chain_pems[0].write_to_path(found.cert)
        made.private_key_pem.write_to_path(found.key)
        return found

    def issue_expired(self, *hosts: str) -> Certificate:
        """Return a certificate whose time was over yesterday."""
        return self.issue(*hosts, not_after=datetime.now(UTC) - timedelta(days=1))

    @property
    def _folder(self) -> Path:
        return Path(self._directory.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._directory.cleanup()


class TlsServer(LocalServer):
    """A server whose TCP port speaks TLS."""

    def _locate(self, credentials: str) -> str:
        # For the tests' own look at it.
        return f"unix://{credentials}{self.socket}"

    def tls_url(self, host: str = "127.0.0.1", **options: object) -> str:
        """Return the URL that a user would give."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        login = least_user.CREDENTIALS if least_user.is_wanted() else ""
        return f"rediss://{login}{host}:{self.port}/0?{query}"

    def _settings(self) -> str:
        # The port that was given is the one with TLS.
        return super()._settings().replace(f"port {self.port}\n", f"port 0\ntls-port {self.port}\n")


class TlsSentinel(SentinelServer, TlsServer):
    """A sentinel that speaks TLS, also with the servers that it looks after."""


def tls_config(authority: Authority, certificate: Certificate) -> dict[str, ConfigValue]:
    """Return the settings of a server with a certificate that asks its clients for none.

    Args:
        authority: Whose clients it would trust.
        certificate: The server's own.
    """
    return {
        "tls-ca-cert-file": str(authority.path),
        "tls-cert-file": str(certificate.cert),
        "tls-key-file": str(certificate.key),
        "tls-auth-clients": "no",
    }


def start_tls(
    kind: ServerKind, authority: Authority, certificate: Certificate, **settings: ConfigValue
) -> TlsServer:
    """Start a server with a certificate.

    Args:
        kind: What to start; see :func:`find_tls_kind`.
        authority: Whose clients it trusts.
        certificate: The server's own.
        **settings: Further ones, with underscores for dashes.
    """
    more = {name.replace("_", "-"): value for name, value in settings.items()}
    return start_on_free_port(kind, tls_config(authority, certificate) | more, TlsServer)


@cache
def find_tls_kind() -> ServerKind | None:
    """Return a kind of server that was built with TLS; None when there is none here."""
    with Authority() as authority:
        certificate = authority.issue(*HOSTS)
        for kind in discover():
            if kind.origin is Origin.DOCKER:
                continue
            try:
                start_tls(kind, authority, certificate).stop()
            except ServerStartError:
                continue
            return kind
    return None
