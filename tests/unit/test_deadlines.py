"""Calls with a deadline on the threads of a pool."""

from __future__ import annotations

import contextvars
import dis
import gc
import random
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any

import pytest

from bb5_breaker._shell import call_threads, deadlines
from bb5_breaker._shell.deadlines import CallExpired, CallPool

PLENTY = 30.0
_OURS = (call_threads.__file__, deadlines.__file__)
# Where CPython runs the handlers of signals: after these.
_STOPS = ("CALL", "RESUME", "JUMP_BACKWARD")


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PLENTY
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def _is_at_rest(pool: CallPool) -> bool:
    """Return whether every thread is free for anybody, and nothing else is left of calls."""
    threads = pool._threads
    return (
        len(threads.idle) == len(threads.workers) == len(_alive(pool))
        and not threads.waiting
        and not pool.abandoned
    )


def _alive(pool: CallPool) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if getattr(getattr(thread, "_target", None), "__self__", None) is pool._threads
    ]


class _Interrupted(BaseException):
    """What a signal handler raises."""


class _At:
    """Does something at the n-th moment in which a signal handler could run in our code."""

    def __init__(self, countdown: int, act: Callable[[], None]) -> None:
        self.struck = False
        self._left = countdown
        self._act = act
        self._stops: dict[CodeType, set[int]] = {}

    def _may_stop(self, frame: FrameType) -> bool:
        code = frame.f_code
        if code not in self._stops:
            steps = list(dis.get_instructions(code))
            after = pairwise(steps)
            self._stops[code] = {b.offset for a, b in after if a.opname.startswith(_STOPS)}
        return frame.f_lasti in self._stops[code]

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in _OURS:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and self._may_stop(frame):
            self._left -= 1
            if self._left == 0:
                self.struck = True
                sys.settrace(None)
                self._act()
        return self


def _interrupt() -> None:
    raise _Interrupted


@contextmanager
def _acting(countdown: int, act: Callable[[], None]) -> Iterator[_At]:
    at, before = _At(countdown, act), sys.gettrace()
    sys.settrace(at)
    try:
        yield at
    finally:
        sys.settrace(before)


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
    _until(lambda: pool.abandoned == 0)
    assert pool.run(threading.get_ident, PLENTY) != threading.get_ident()
    assert len(pool._threads.workers) == 1


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
    assert len(pool._threads.workers) <= 32


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_interrupts_at_any_moment_lose_nothing(warm: bool) -> None:
    """The next call gets its own result, and every thread comes free at once."""
    moment, struck = 0, True
    while struck:
        moment += 1
        pool = CallPool(most=1)
        if warm:
            pool.run(int, PLENTY)
        with _acting(moment, _interrupt) as at, suppress(_Interrupted):
            assert pool.run(lambda: "first", PLENTY) == "first"
        struck = at.struck
        assert pool.run(lambda: "second", PLENTY) == "second", moment
        _until(lambda pool=pool: _is_at_rest(pool))
    assert moment > 5, "the interrupts never came"


def test_interrupts_of_one_who_waits_for_a_thread_lose_nothing() -> None:
    """The thread that comes free goes to others, whenever the interrupt came."""
    moment, struck = 0, True
    while struck:
        moment += 1
        pool, release = CallPool(most=1), threading.Event()
        with pytest.raises(CallExpired):
            pool.run(release.wait, 0.001, PLENTY)
        got: list[str] = []
        other = threading.Thread(target=lambda p=pool, g=got: g.append(p.run(lambda: "b", PLENTY)))

        def strike(release: threading.Event = release, other: threading.Thread = other) -> None:
            other.start()
            release.set()
            _interrupt()

        with _acting(moment, strike) as at, suppress(_Interrupted, CallExpired):
            pool.run(lambda: "a", 0.01)
        struck = at.struck
        release.set()
        if struck:
            other.join(PLENTY)
            assert got == ["b"], moment
        _until(lambda pool=pool: _is_at_rest(pool))
    assert moment > 5, "the interrupts never came"


def test_interrupts_of_one_whose_call_is_over_do_not_keep_others_waiting() -> None:
    """Wherever it is interrupted on its way out, the one that waits gets the thread."""
    moment, struck = 0, True
    while struck:
        moment += 1
        pool, go = CallPool(most=1), threading.Event()
        got: list[str] = []

        def call_next(pool: CallPool = pool, go: threading.Event = go, got: Any = got) -> None:
            go.wait(PLENTY)
            got.append(pool.run(lambda: "next", PLENTY))

        def work(pool: CallPool = pool, go: threading.Event = go) -> None:
            go.set()
            _until(lambda: bool(pool._threads.waiting))

        other = threading.Thread(target=call_next)
        other.start()
        with _acting(moment, _interrupt) as at, suppress(_Interrupted):
            pool.run(work, PLENTY)
        struck = at.struck
        go.set()
        other.join(PLENTY)
        assert got == ["next"], moment
        _until(lambda pool=pool: _is_at_rest(pool))
    assert moment > 5, "the interrupts never came"


def test_a_thread_that_comes_free_at_any_moment_of_a_waiters_time_out_is_not_kept() -> None:
    """Its caller had it or not; the error, which is kept, does not hold on to the thread."""
    moment, struck, kept = 0, True, []
    while struck:
        moment += 1
        pool, release = CallPool(most=1), threading.Event()
        with pytest.raises(CallExpired):
            pool.run(release.wait, 0.001, PLENTY)

        def end(pool: CallPool = pool, release: threading.Event = release) -> None:
            release.set()
            _until(lambda: not pool.abandoned)
            time.sleep(0.002)  # it goes to the one who waits, which nobody can see

        with _acting(moment, end) as at:
            try:
                pool.run(int, 0.001)
            except CallExpired as error:
                kept.append(error)
        struck = at.struck
        release.set()
        _until(lambda pool=pool: _is_at_rest(pool))
    assert kept


@pytest.mark.timeout(60, method="thread")  # the other method's alarm would be ours
def test_the_call_of_an_interrupted_caller_counts_as_abandoned_until_it_ends() -> None:
    """Nobody waits for it any more, and it shows."""
    pool, release = CallPool(), threading.Event()

    def strike(*_: object) -> None:
        raise _Interrupted

    def work() -> None:
        # Only now: on a busy machine the call might not have begun.
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        release.wait()

    before = signal.signal(signal.SIGALRM, strike)
    try:
        with pytest.raises(_Interrupted):
            pool.run(work, PLENTY)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert pool.abandoned == 1
    release.set()
    _until(lambda: _is_at_rest(pool))


def test_a_call_that_ends_at_any_moment_of_its_time_out_has_one_outcome() -> None:
    """Result or time-out, and then the thread is as good as new."""
    moment, struck, outcomes = 0, True, set()
    while struck:
        moment += 1
        pool, release = CallPool(most=1), threading.Event()
        pool.run(int, PLENTY)
        ended = threading.Event()

        def work(release: threading.Event = release, ended: threading.Event = ended) -> str:
            release.wait(PLENTY)
            ended.set()
            return "mine"

        def end(release: threading.Event = release, ended: threading.Event = ended) -> None:
            release.set()
            ended.wait(0.02)
            time.sleep(0.002)  # its thread goes on to tell, which nobody can see

        with _acting(moment, end) as at:
            try:
                outcomes.add(pool.run(work, 0.01))
            except CallExpired:
                outcomes.add("expired")
        struck = at.struck
        release.set()
        assert pool.run(lambda: "next", PLENTY) == "next", moment
        _until(lambda pool=pool: _is_at_rest(pool))
    assert outcomes == {"mine", "expired"}


def test_the_late_end_of_an_abandoned_call_does_not_end_the_next() -> None:
    """Calls of one thread, each given up while it runs; the next waits for its own end."""
    pool, calls = CallPool(most=1), 20
    ends = [threading.Event() for _ in range(calls)]
    got: list[str] = []
    for number, end in enumerate(ends):
        with pytest.raises(CallExpired):
            pool.run(end.wait, 0.002, PLENTY)
        begun, last = threading.Event(), threading.Event()

        def work(begun: threading.Event = begun, last: threading.Event = last) -> str:
            begun.set()
            assert last.wait(PLENTY)
            return "own"

        caller = threading.Thread(target=lambda w=work: got.append(pool.run(w, PLENTY)))
        caller.start()
        end.set()
        assert begun.wait(PLENTY)
        assert len(got) == number
        last.set()
        caller.join(PLENTY)
        assert got == ["own"] * (number + 1)
    assert _is_at_rest(pool)


@pytest.mark.timeout(60, method="thread")  # the other method's alarm would be ours
def test_real_signals_at_random_moments_lose_nothing() -> None:
    """Handlers that raise, in calls and time-outs: own results only, and all threads are free."""
    pool, moments = CallPool(most=2), random.Random(5)
    armed, struck = [False], 0

    def strike(*_: object) -> None:
        if armed[0]:
            armed[0] = False
            raise _Interrupted

    before = signal.signal(signal.SIGALRM, strike)
    try:
        for turn in range(3000):
            hang = 0.0002 if turn % 3 == 0 else 0.0
            try:
                armed[0] = True
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, 4e-4))
                for number in range(30):
                    with suppress(CallExpired):
                        assert (
                            pool.run(_sleep_and_return, 0.0001 + PLENTY * (not hang), hang, number)
                            == number
                        )
            except _Interrupted:
                struck += 1
            armed[0] = False
            assert pool.run(lambda turn=turn: turn, PLENTY) == turn
    finally:
        armed[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert struck > 1000
    _until(lambda: _is_at_rest(pool))
    assert pool._threads._queueing.acquire(blocking=False)
    pool._threads._queueing.release()


def _sleep_and_return(seconds: float, number: int) -> int:
    if seconds:
        time.sleep(seconds)
    return number


def test_interrupts_and_errors_that_are_kept_do_not_keep_the_thread() -> None:
    """A traceback holds the frames of the call, but not the right to its thread."""
    pool, release = CallPool(most=1), threading.Event()
    kept: list[BaseException] = []

    def fail() -> None:
        raise ValueError

    for work, timeout in ((fail, PLENTY), (release.wait, 0.01), (int, 0.01)):
        try:
            pool.run(work, timeout)
        except Exception as error:
            kept.append(error)
    release.set()
    _until(lambda: _is_at_rest(pool))
    pool.run(int, PLENTY)
    assert [type(error) for error in kept] == [ValueError, CallExpired, CallExpired]


class _Thing:
    """Something to look for."""


def _fail_with(thing: _Thing) -> None:
    raise ValueError(thing)


def test_nothing_is_kept_of_a_call() -> None:
    """Arguments, results and errors are gone with the last that the caller has of them."""
    pool = CallPool()
    gc.disable()
    try:
        for work in (lambda thing: thing, _fail_with):
            thing = _Thing()
            gone = weakref.ref(thing)
            with suppress(ValueError):
                pool.run(work, PLENTY, thing)
            del thing
            assert gone() is None
    finally:
        gc.enable()


def test_nothing_is_kept_of_an_abandoned_call() -> None:
    """What it returns late is dropped, even while the time-out's error lives."""
    pool, release = CallPool(), threading.Event()
    made: list[weakref.ref[_Thing]] = []

    def make() -> _Thing:
        release.wait(PLENTY)
        thing = _Thing()
        made.append(weakref.ref(thing))
        return thing

    with pytest.raises(CallExpired) as caught:
        pool.run(make, 0.01)
    release.set()
    _until(lambda: bool(made) and made[0]() is None)
    assert caught.value.args


def test_calls_leave_nothing_to_the_collector() -> None:
    """Neither results nor errors nor time-outs are tied into knots."""
    pool = CallPool()
    pool.run(int, PLENTY)
    gc.collect()
    gc.disable()
    try:
        before = sum(map(_is_of_a_call, gc.get_objects()))
        for _ in range(2000):
            pool.run(int, PLENTY)
            with suppress(ValueError):
                pool.run(_fail_with, PLENTY, _Thing())
            with suppress(CallExpired):
                pool.run(time.sleep, 1e-9, 0)
        _until(lambda: _is_at_rest(pool))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert sum(map(_is_of_a_call, gc.garbage)) < 50
        gc.set_debug(0)
        gc.garbage.clear()
        living = sum(map(_is_of_a_call, gc.get_objects())) - before
        assert living < 50 + 12 * len(pool._threads.workers)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _is_of_a_call(thing: object) -> bool:
    """Tell what calls make from what threads of other tests leave meanwhile."""
    kind = type(thing)
    ours = kind.__module__ in ("bb5_breaker._shell.deadlines", "bb5_breaker._shell.call_threads")
    return ours or kind in (_Thing, ValueError)


def test_idle_threads_end() -> None:
    """After their rest all are gone, and the next call begins a new one."""
    pool = CallPool(rest=0.05)
    inside = threading.Barrier(4)
    callers = [threading.Thread(target=pool.run, args=(inside.wait, PLENTY)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    _until(lambda: not pool._threads.workers and not _alive(pool))
    assert not pool._threads.idle
    assert pool.run(int, PLENTY) == 0


def test_calls_race_with_the_ends_of_idle_threads() -> None:
    """A thread that ends in the moment of a call: the call has another, or this one still."""
    pool = CallPool(most=2, rest=0.0005)

    def call_often() -> None:
        pause = random.Random(threading.get_ident())
        for number in range(300):
            time.sleep(pause.uniform(0.0003, 0.0007))
            assert pool.run(lambda value=number: value, PLENTY) == number
        good.append(True)

    good: list[bool] = []
    callers = [threading.Thread(target=call_often) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert good == [True] * 4
    _until(lambda: not pool._threads.workers and not _alive(pool))


def test_who_waits_longest_is_served_first() -> None:
    """Callers beyond the last thread get it in the order in which they came."""
    pool, release = CallPool(most=1), threading.Event()
    order: list[int] = []
    callers = [threading.Thread(target=pool.run, args=(release.wait, PLENTY))]
    callers += [
        threading.Thread(target=pool.run, args=(order.append, PLENTY, number))
        for number in range(10)
    ]
    for waiting, caller in enumerate(callers):
        caller.start()
        _until(lambda count=waiting: len(pool._threads.waiting) == count and pool._threads.workers)
    release.set()
    for caller in callers:
        caller.join()
    assert order == list(range(10))


def test_a_thread_that_can_not_begin_leaves_its_place_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's error reaches the caller; the pool is as before."""
    pool = CallPool(most=1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="start new thread"):
            pool.run(int, PLENTY)
    assert pool.run(int, PLENTY) == 0
    assert _is_at_rest(pool)


def test_a_thread_that_can_not_begin_lets_those_who_wait_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counted among the most while it was to begin, so another caller had to wait."""
    pool, start = CallPool(most=1), threading.Thread.start
    got: list[str] = []
    other = threading.Thread(target=lambda: got.append(pool.run(lambda: "other", PLENTY)))

    def refuse(_: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        other.start()
        _until(lambda: len(pool._threads.waiting) == 1)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="start new thread"):
        pool.run(int, PLENTY)
    other.join(PLENTY)
    assert got == ["other"]


def test_a_thread_that_begins_after_its_start_was_interrupted_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not count any more, so it must not go on beside the most that may be."""
    pool, start = CallPool(most=1), threading.Thread.start
    late: list[threading.Thread] = []

    def interrupt(thread: threading.Thread) -> None:
        late.append(thread)
        raise _Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(_Interrupted):
            pool.run(int, PLENTY)
    start(late[0])
    late[0].join(PLENTY)
    assert not late[0].is_alive()
    assert pool.run(int, PLENTY) == 0
    assert _is_at_rest(pool)
