"""The service of the demo: an HTTP server on loopback, healthy or not as it is told.

It reads the names of modes from its standard input, one a line, and ends with it.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from bb5_breaker.demo.records import Mode, ModeChange, Ready, Record, Request, encode

__all__ = ["CALL_HEADER"]

CALL_HEADER: Final = "X-Demo-Call"
_LONGEST_HANG: Final = 5.0
# Seconds of work for an answer in each mode.
_WORK: Final = {Mode.HEALTHY: 0.01, Mode.FAILING: 0.7, Mode.RECOVERING: 0.3}
_OK: Final = 200
_UNAVAILABLE: Final = 503
_NO_ANSWER: Final = 0


class Service:
    """How the service behaves, and what it counts. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mode = Mode.HEALTHY
        self._at_work = 0
        self._failing = 0

    def change(self, mode: Mode) -> None:
        """Behave in another way from the next request on."""
        with self._lock:
            self._mode = mode
            self._tell(ModeChange(mode, time.monotonic_ns()))

    def work(self, call: str, connection: socket.socket) -> int:
        """Work for one request; return the status of the answer, 0 for none."""
        begun_ns = time.monotonic_ns()
        with self._lock:
            self._at_work += 1
            at_work, mode, hangs = self._at_work, self._mode, self._next_hangs()
        if hangs:
            _wait_for_hang_up(connection)
            status = _NO_ANSWER
        else:
            time.sleep(_WORK[mode])
            status = _UNAVAILABLE if mode is Mode.FAILING else _OK
        with self._lock:
            # Counted as done before the client can know: its next step comes after this one.
            self._at_work -= 1
            self._tell(Request(call, begun_ns, time.monotonic_ns(), status, at_work))
        return status

    def announce(self, port: int) -> None:
        """Say that requests are taken."""
        with self._lock:
            self._tell(Ready(port))

    def _next_hangs(self) -> bool:
        if self._mode is Mode.FAILING:
            # Half of the requests get no answer, the others a slow error.
            self._failing += 1
            return self._failing % 2 == 1
        return self._mode is Mode.HANGING

    def _tell(self, record: Record) -> None:
        print(encode(record), flush=True)


def _wait_for_hang_up(connection: socket.socket) -> None:
    select.select([connection], [], [], _LONGEST_HANG)


def _make_handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Takes one request."""

        def do_GET(self) -> None:
            """Answer it, or not."""
            status = service.work(self.headers.get(CALL_HEADER, ""), self.connection)
            if status == _NO_ANSWER:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing: every request is told as a record."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def main() -> None:
    """Serve until the standard input ends."""
    service = Service()
    with _Server(("127.0.0.1", 0), _make_handler(service)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        service.announce(server.server_port)
        for line in sys.stdin:
            service.change(Mode(line.strip()))
        server.shutdown()


if __name__ == "__main__":
    main()
