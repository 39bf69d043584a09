"""Parts of the package that are imported when they are first used.

Python locks a module while a thread imports it. Forked in that moment, a child would wait for
ever for a thread that it does not have. So a fork waits until such an import is done.
"""

from __future__ import annotations

import os
import threading
from typing import Final

__all__ = ["IMPORTING"]

# Held around every import that comes after that of the package:
#     with IMPORTING:
#         from bb5_breaker._store import embedded
IMPORTING: Final = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=IMPORTING.acquire,
        after_in_parent=IMPORTING.release,
        after_in_child=IMPORTING.release,
    )
