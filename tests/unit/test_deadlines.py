"""Calls with a deadline on the threads of a pool."""

from __future__ import annotations

import contextvars
import threading
import time

import pytest

from bb5_breaker._shell.deadlines import CallPool

PLENTY = 30.0


def test_result_and_error_come_back_unchanged() -> None:
    """The caller gets the very objects that the call returned or raised."""
    pool = CallPool()
    result, error = object(), ValueError("x")

    def fail() -> None:
        raise error

    assert pool.run(lambda: result, PLENTY) is result
    with pytest.raises(ValueError, match="x") as caught:
        pool.run(fail, PLENTY)
    assert caught.value is error


def test_all_arguments_belong_to_the_call() -> None:
    """Keyword arguments named as the pool's own reach the call."""
    pool = CallPool()
    assert pool.run(lambda *a, **k: (a, k), PLENTY, 1, timeout=2, work=3, self=4) == (
        (1,),
        {"timeout": 2, "work": 3, "self": 4},
    )


def test_late_call_raises_timeout_and_is_counted_until_it_ends() -> None:
    """A call that outlasts its deadline is abandoned, visibly, and its thread comes back."""
    pool = CallPool()
    release = threading.Event()
    with pytest.raises(TimeoutError, match=r"call_timeout of 0\.01 s"):
        pool.run(release.wait, 0.01)
    assert pool.abandoned == 1
    release.set()
    deadline = time.monotonic() + PLENTY
    while pool.abandoned and time.monotonic() < deadline:
        time.sleep(0.001)
    assert pool.abandoned == 0
    assert pool.run(threading.get_ident, PLENTY) != threading.get_ident()
    assert pool._threads == 1


def test_threads_are_used_again() -> None:
    """A thousand calls in a row use one thread."""
    pool = CallPool()
    assert len({pool.run(threading.get_ident, PLENTY) for _ in range(1000)}) == 1


def test_context_variables_are_carried_over() -> None:
    """The call sees the caller's context and can not change it."""
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("caller")

    def read_and_set() -> str:
        seen = variable.get()
        variable.set("call")
        return seen

    assert CallPool().run(read_and_set, PLENTY) == "caller"
    assert variable.get() == "caller"


def test_the_pool_is_bounded() -> None:
    """When every thread is taken a call waits, and gives up at its own deadline."""
    pool = CallPool(most=1)
    release = threading.Event()
    with pytest.raises(TimeoutError):
        pool.run(release.wait, 0.01)
    with pytest.raises(TimeoutError, match="no thread came free"):
        pool.run(int, 0.01)
    release.set()
    assert pool.run(int, PLENTY) == 0


def test_a_call_may_run_calls() -> None:
    """A guarded call inside a guarded call takes a thread of its own."""
    pool = CallPool()
    assert pool.run(lambda: pool.run(lambda: 7, PLENTY), PLENTY) == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_exits_reach_the_caller(error: type[BaseException]) -> None:
    """What ends a program is raised where the caller is, and the thread lives on."""
    pool = CallPool()

    def leave() -> None:
        raise error

    with pytest.raises(error):
        pool.run(leave, PLENTY)
    assert pool.run(int, PLENTY) == 0


def test_many_callers_at_once() -> None:
    """Thirty-two threads calling for a while each get their own results."""
    pool = CallPool()
    wrong: list[tuple[int, int]] = []

    def call_often(base: int) -> None:
        for number in range(base, base + 200):
            got = pool.run(lambda value=number: value, PLENTY)
            if got != number:
                wrong.append((number, got))

    threads = [threading.Thread(target=call_often, args=(1000 * i,)) for i in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert pool._threads <= 32
