"""What was logged about one store: threads of earlier tests may still tell of theirs."""

from __future__ import annotations

import logging

import pytest

from bb5_breaker import CircuitBreaker

__all__ = ["records_about"]


def records_about(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> list[logging.LogRecord]:
    """Return the log records that name the store of a breaker."""
    address = breaker._link().store.address
    return [record for record in caplog.records if address in record.getMessage()]
