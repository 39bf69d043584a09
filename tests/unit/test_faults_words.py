"""From the server's words to our errors."""

from __future__ import annotations

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ResponseError

from bb5_breaker._store.faults import explain_fault
from bb5_breaker.exceptions import StoreRefusedError


@pytest.mark.parametrize(
    "text",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "BUSY Redis is busy running a script.",
        "ERR Error running script: @user_script:12: -OOM command not allowed",
        "READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "MISCONF Redis is configured to save RDB snapshots",
    ],
)
def test_a_server_that_can_not_serve_now_refuses(text: str) -> None:
    """Whether the code stands first or behind what a script adds."""
    assert type(explain_fault(ResponseError(text), "here")) is StoreRefusedError


@pytest.mark.parametrize("code", ["OOM", "READONLY", "LOADING", "CLUSTERDOWN", "TRYAGAIN"])
def test_a_code_that_the_client_takes_away_is_understood(code: str) -> None:
    """redis-py makes errors of its own of some codes; one of them passes for a lost connection."""
    fault = BaseParser.parse_error(f"{code} some words")
    assert code not in str(fault)
    assert type(explain_fault(fault, "here")) is StoreRefusedError


@pytest.mark.parametrize(
    "text",
    [
        "BUSYGROUP Consumer Group name already exists",
        "NOGROUP No such key 'circuit_breaker:{CHATROOM}:events' or consumer group 'OOM'",
        "ERR no such key 'circuit_breaker:{READONLY}'",
    ],
)
def test_names_of_keys_are_no_codes(text: str) -> None:
    """A service may be called what it likes."""
    assert type(explain_fault(ResponseError(text), "here")) is not StoreRefusedError
