"""Event loops for tests: those to run on, and a watch over what happens on their thread."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import redis

import bb5_breaker

Run = Callable[[Coroutine[Any, Any, Any]], Any]
_STORE = Path(bb5_breaker.__file__).parent / "_store"
_STORE_CODE = (str(_STORE), str(Path(redis.__file__).parent))
# To begin a thread asks nobody.
_THREADS = str(_STORE / "background.py")


def run_on_uvloop(work: Coroutine[Any, Any, Any]) -> Any:
    """Do as asyncio.run() does, on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


RUNNERS = [
    pytest.param(asyncio.run, id="asyncio"),
    pytest.param(
        run_on_uvloop,
        id="uvloop",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"
        ),
    ),
]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> float:
    """Wait for a condition while the loop goes on; return the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        assert waited < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.001)
    return time.monotonic() - begun


@contextmanager
def store_watched() -> Iterator[set[str]]:
    """Note the functions of the store, and of redis-py, that are called on this thread."""
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(_STORE_CODE) and file != _THREADS:
            seen.add(frame.f_code.co_qualname)

    # What earlier tests left behind must not be collected, and its stores closed, in here.
    gc.collect()
    gc.disable()
    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(None)
        gc.enable()
