"""Whether the library runs as a user of Redis with the least rights, for all tests of a run.

With ``BB5_TEST_USER=least`` the URLs of the test servers name such a user; the tests' own clients
may still do everything. Its keys and channels are those of any prefix, as tests have one each; so
this shows that no command is missing, and tests/server/test_least_rights.py the rest.
"""

from __future__ import annotations

import os
from typing import Final

from bb5_breaker._doctor.deeds import rights_of
from bb5_breaker._doctor.role import Role

__all__ = ["CREDENTIALS", "is_wanted", "settings"]

_VARIABLE: Final = "BB5_TEST_USER"
_NAME: Final = "least"
_PASSWORD: Final = "least-of-all"
CREDENTIALS: Final = f"{_NAME}:{_PASSWORD}@"


def is_wanted() -> bool:
    """Whether the environment asks for it.

    Raises:
        ValueError: It asks for something else.
    """
    wanted = os.environ.get(_VARIABLE, "")
    if wanted not in ("", _NAME):
        raise ValueError(f"{_VARIABLE} must be '{_NAME}' or empty, got {wanted!r}")
    return bool(wanted)


def settings() -> dict[str, str]:
    """Return the setting that makes the user, with the rights of a process with an event bus.

    A server has it from its first moment, also when it is started anew.
    """
    if not is_wanted():
        return {}
    # A pattern that is subscribed to is compared letter by letter with those granted.
    rights = [right for right in rights_of(Role.BUS, "*", 0) if right[0] != "&"]
    return {"user": " ".join([_NAME, "on", f">{_PASSWORD}", "allchannels", *rights])}
