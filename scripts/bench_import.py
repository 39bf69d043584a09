#!/usr/bin/env python3
"""Time that `import bb5_breaker` takes after `import redis`, in fresh interpreters.

Bytecode is kept in a folder for the length of the measurement, as an installed package has it
beside its modules. `--json` prints one document. Ends with 1 when the median is over 60 ms.

    scripts/bench_import.py [--json] [--runs 15]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_MS = 60.0
_TIMED = """
import time
begun = time.perf_counter()
import redis
between = time.perf_counter()
import bb5_breaker
print((between - begun) * 1000, (time.perf_counter() - between) * 1000)
"""


def milliseconds(cache: str) -> tuple[float, float]:
    """Return what the two imports take in a fresh interpreter."""
    kept_out = {"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"}
    environment = {name: value for name, value in os.environ.items() if name not in kept_out}
    command = [sys.executable, "-X", f"pycache_prefix={cache}", "-c", _TIMED]
    # In the checkout, so that it is found first.
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    redis, ours = map(float, done.stdout.split())
    return redis, ours


def measure(runs: int) -> dict[str, float]:
    """Return the medians of both imports."""
    with tempfile.TemporaryDirectory() as cache:
        milliseconds(cache)
        samples = [milliseconds(cache) for _ in range(runs)]
    redis, ours = (round(statistics.median(times), 1) for times in zip(*samples, strict=True))
    return {"import_redis_ms": redis, "import_bb5_breaker_ms": ours}


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--runs", type=int, default=15, help="fresh interpreters to measure in")
    given = parser.parse_args()
    found = measure(given.runs)
    if given.json:
        print(json.dumps(found))
    else:
        print(
            f"import redis: {found['import_redis_ms']} ms; "
            f"import bb5_breaker: {found['import_bb5_breaker_ms']} ms more, of {MOST_MS:g} allowed"
        )
    return int(found["import_bb5_breaker_ms"] > MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
