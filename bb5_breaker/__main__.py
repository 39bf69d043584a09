"""``python -m bb5_breaker`` is ``bb5-breaker``."""

from __future__ import annotations

import sys

from bb5_breaker.cli import main

if __name__ == "__main__":
    sys.exit(main())
