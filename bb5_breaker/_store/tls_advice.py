"""What to change when TLS is what keeps a connection from being made."""

from __future__ import annotations

from typing import Final

__all__ = ["advise_on_tls"]

# The first that fits counts: parts of what OpenSSL and the system say.
_CERTAIN: Final = (
    (
        "certificate has expired",
        "renew the server's certificate, or correct this machine's clock",
    ),
    (
        "mismatch, certificate is not valid for",
        "name the server in the URL as its certificate does, or set ssl_check_hostname=false",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "name the authority that signed the server's certificate with ssl_ca_certs=/path/to/ca.pem",
    ),
    (
        "ALERT_CERTIFICATE_REQUIRED",
        "the server wants a certificate of its clients: set ssl_certfile and ssl_keyfile",
    ),
    (
        "HANDSHAKE_FAILURE",
        "the server perhaps wants a certificate of its clients (ssl_certfile and ssl_keyfile), "
        "or another version of TLS or other ciphers",
    ),
    (
        "ALERT_UNKNOWN_CA",
        "the server does not know the authority that signed our certificate: set another "
        "ssl_certfile and ssl_keyfile, or its tls-ca-cert-file",
    ),
    (
        "KEY_VALUES_MISMATCH",
        "ssl_keyfile is not the key of ssl_certfile",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "its port speaks no TLS: name it with redis://, or name its TLS port",
    ),
)
_FILES: Final = ("No such file or directory", "[X509", "PEM", "Permission denied")
_BAD_FILE: Final = (
    "a file that ssl_ca_certs, ssl_certfile or ssl_keyfile names is missing, can not be read, or "
    "holds something else"
)
_PERHAPS_PLAIN: Final = "start it, check the address, or use redis:// if its port speaks no TLS"
_PERHAPS_TLS: Final = "start it, check the address, or use rediss:// if its port speaks TLS"
_PERHAPS_MUTUAL: Final = (
    "start it, check the address, or set ssl_certfile and ssl_keyfile if the server wants a "
    "certificate of its clients"
)
_CUT: Final = (
    "Connection reset by peer",
    "Connection closed by server",
    "EOF occurred in violation of protocol",
    "Broken pipe",
)


def advise_on_tls(text: str, address: str) -> str | None:
    """Return what to change so that a connection comes about.

    Args:
        text: What redis-py or the socket said of the failure.
        address: Where the server is, as a URL; where it begins with another scheme than redis://
            or rediss://, there is advice only on what is beyond doubt.

    Returns:
        Words for the end of a message; None when TLS has nothing to do with it.
    """
    for sign, advice in _CERTAIN:
        if sign in text:
            return advice
    was_cut = any(sign in text for sign in _CUT)
    if address.startswith("redis://"):
        return _PERHAPS_TLS if was_cut else None
    if not address.startswith("rediss://"):
        return None
    if any(sign in text for sign in _FILES):
        return _BAD_FILE
    if "Timeout connecting" in text:
        # A plain server waits for the end of the line that it takes our greeting for.
        return _PERHAPS_PLAIN
    return _PERHAPS_MUTUAL if was_cut else None
