"""From errors of the client to the errors of the bus."""

from __future__ import annotations

from redis import exceptions as failures

from bb5_breaker._store.faults import explain_fault
from bb5_breaker.exceptions import (
    EventBusError,
    RedisConnectionError,
    RedisPubSubError,
    StoreError,
    StoreUnavailableError,
)

__all__ = ["explain_loss", "explain_refusal", "explain_store_error"]

_LONGEST = 300


def explain_loss(fault: Exception, address: str) -> RedisConnectionError:
    """Return the error for a connection that could not be made or kept.

    Args:
        fault: What redis-py or the socket raised.
        address: Where the server is, without secrets.
    """
    reason = explain_fault(fault, address).message
    return RedisConnectionError(
        f"{reason}; EventBusConfig(url=...) names another server for the event bus alone",
        details={"address": address},
    )


def explain_refusal(fault: Exception, address: str, deed: str) -> EventBusError:
    """Return the error for a command that was not carried out.

    Args:
        fault: What redis-py or the socket raised.
        address: Where the server is, without secrets.
        deed: What was asked, such as "publish on 'news'".
    """
    if not isinstance(fault, failures.ResponseError):
        return explain_loss(fault, address)
    text = str(fault)[:_LONGEST]
    remedy = ""
    if isinstance(fault, failures.NoPermissionError) or "NOPERM" in text:
        remedy = "; grant the user the command and the channel with ACL SETUSER"
    return RedisPubSubError(
        f"Redis at {address} refused to {deed}: {text}{remedy}", details={"address": address}
    )


def explain_store_error(error: StoreError) -> EventBusError:
    """Return the error of the bus for what the store met when the bus asked it."""
    if isinstance(error, StoreUnavailableError):
        return RedisConnectionError(error.message)
    return RedisPubSubError(error.message)
