"""The process from which workers are forked: python -m tests.support.workers_main."""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
import traceback
from typing import Any


def main(arguments: list[str]) -> None:
    """Fork one worker for each file descriptor that was handed over, and wait for all."""
    assignment = json.loads(arguments[0])
    _set_clocks_wrong(assignment.pop("clock_offset"))
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        _sleep_by_select()
    # Only now: what is imported below takes the clocks as they are.
    from tests.support import workers_jobs

    lines = [int(number) for number in arguments[1:]]
    for line in lines:
        if os.fork() == 0:
            for other in lines:
                if other != line:
                    os.close(other)
            _serve(socket.socket(fileno=line), workers_jobs, assignment)
            os._exit(0)
    for line in lines:
        os.close(line)
    for _ in lines:
        os.wait()


def _serve(line: socket.socket, jobs: Any, assignment: dict[str, Any]) -> None:
    bench = jobs.Bench(**assignment)
    line.sendall(json.dumps(["done", os.getpid()]).encode() + b"\n")
    with line.makefile("r", encoding="utf-8") as commands:
        for command in commands:
            job, arguments = json.loads(command)
            at = arguments.pop("at", float("-inf"))
            while time.monotonic() < at:
                pass
            try:
                answer = ["done", getattr(jobs, job)(bench, **arguments)]
            except Exception:
                answer = ["raised", traceback.format_exc()]
            line.sendall(json.dumps(answer).encode() + b"\n")


def _set_clocks_wrong(offset: float) -> None:
    if not offset:
        return
    nanoseconds = int(offset * 1e9)
    for name in ("time", "monotonic"):
        real, real_ns = getattr(time, name), getattr(time, f"{name}_ns")
        setattr(time, name, lambda real=real: real() + offset)
        setattr(time, f"{name}_ns", lambda real=real_ns: real() + nanoseconds)


def _sleep_by_select() -> None:
    # libfaketime makes a clock_nanosleep that is under way, or begins, fail when it sets the clock.
    setattr(time, "sleep", _wait)  # noqa: B010 - the checker knows another signature


def _wait(seconds: float) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
