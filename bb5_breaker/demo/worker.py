"""A worker of the demo: calls the service through the circuit until its standard input ends.

Arguments: its number, the URL of the store, the port of the service.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from http.client import HTTPConnection

from bb5_breaker.breaker import CircuitBreaker
from bb5_breaker.configuration import configure
from bb5_breaker.demo.records import Call, Outcome, Ready, encode
from bb5_breaker.demo.rules import CLIENT_TIMEOUT, CONFIG, PAUSE, SERVICE, WORKER_STORE_TIMEOUT
from bb5_breaker.demo.service import CALL_HEADER
from bb5_breaker.result import CallResult

__all__ = ["ServiceUnavailable", "Worker"]


class ServiceUnavailable(Exception):
    """The service answered, but not with 200."""


class Worker:
    """One of the processes that share the circuit.

    Args:
        number: Which one.
        port: Port of the service on loopback.
    """

    def __init__(self, number: int, port: int) -> None:
        self._number = number
        self._port = port
        self._calls = 0
        self._finished_ns = 0
        self._breaker = CircuitBreaker(SERVICE, CONFIG)

    def call(self) -> Call:
        """Make one call through the circuit and return what became of it."""
        self._calls += 1
        self._finished_ns = 0
        call = f"{self._number}-{self._calls}"
        begun_ns = time.monotonic_ns()
        result = self._breaker.call_result(self._ask_service, call)
        ended_ns = time.monotonic_ns()
        error = "" if result.exception is None else type(result.exception).__name__
        return Call(
            call=call,
            worker=self._number,
            outcome=_outcome(result),
            state=str(result.state_at_call),
            error=error,
            begun_ns=begun_ns,
            finished_ns=self._finished_ns,
            ended_ns=ended_ns,
        )

    def _ask_service(self, call: str) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=CLIENT_TIMEOUT)
        try:
            connection.request("GET", "/pay", headers={CALL_HEADER: call})
            status = connection.getresponse().status
            if status != 200:
                raise ServiceUnavailable(f"the service answered {status}")
        finally:
            connection.close()
            self._finished_ns = time.monotonic_ns()


def _outcome(result: CallResult) -> Outcome:
    if result.was_rejected:
        return Outcome.REJECTED
    return Outcome.SUCCESS if result.success else Outcome.FAILURE


def _end_with_input(over: threading.Event) -> None:
    # Not sys.stdin.read(), whose lock could be held when the interpreter ends.
    while os.read(0, 4096):
        pass
    over.set()


def main() -> None:
    """Call the service until the standard input ends."""
    number, store, port = sys.argv[1:]
    configure(store, store_timeout=WORKER_STORE_TIMEOUT)
    worker = Worker(int(number), int(port))
    over = threading.Event()
    threading.Thread(target=_end_with_input, args=(over,), daemon=True).start()
    print(encode(Ready(0)), flush=True)
    while not over.wait(PAUSE * random.uniform(0.5, 1.5)):
        print(encode(worker.call()), flush=True)


if __name__ == "__main__":
    main()
