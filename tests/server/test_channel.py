"""Replies of every kind, however they arrive: in pieces, with more than was asked, over TLS."""

from __future__ import annotations

import contextlib
import select
import shlex
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from bb5_breaker._store.clients import client_from_url
from bb5_breaker._store.connections import ConnectionStack
from bb5_breaker._store.packing import pack_words
from tests.server.circuits import eventually
from tests.support.servers import RunningServer

Deliver = Callable[[socket.socket, bytes], None]
_MAKE_CERTIFICATE = shlex.split(
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
    "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout both.pem -out both.pem"
)
_JUNK = b"$5\r\nstale\r\n"


def _at_once(client: socket.socket, data: bytes) -> None:
    client.sendall(data)


class _Proxy:
    """Stands between a client and a server, and hands on what the server says in its own way."""

    def __init__(
        self,
        server: RunningServer,
        deliver: Deliver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        assert server.socket is not None
        self._upstream = str(server.socket)
        self._deliver = deliver
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.clients: set[int] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more clients."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server.connect(self._upstream)
            number = client.fileno()
            self.clients.add(number)
            try:
                with client:
                    self._pass_on(client, server)
            finally:
                self.clients.discard(number)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            for ready in select.select([client, server], [], [])[0]:
                data = ready.recv(16_384)
                if not data:
                    return
                if ready is client:
                    server.sendall(data)
                else:
                    self._deliver(client, data)


Reach = Callable[[Deliver], ConnectionStack]


@pytest.fixture
def reach(any_server: RunningServer) -> Iterator[Reach]:
    """Make connections to a server whose replies are handed on in some way."""
    with contextlib.ExitStack() as ends:

        def make(deliver: Deliver) -> ConnectionStack:
            proxy = _Proxy(any_server, deliver)
            ends.callback(proxy.close)
            return _connections(ends, f"redis://127.0.0.1:{proxy.port}")

        yield make


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate for 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        _MAKE_CERTIFICATE,
        cwd=file.parent,
        check=True,
        capture_output=True,
    )
    return file


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def tls_proxy(
    request: pytest.FixtureRequest, any_server: RunningServer, certificate: Path
) -> Iterator[_Proxy]:
    """What stands before a server and speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.minimum_version = context.maximum_version = request.param
    proxy = _Proxy(any_server, _at_once, context)
    yield proxy
    proxy.close()


@pytest.fixture
def over_tls(tls_proxy: _Proxy, certificate: Path) -> Iterator[ConnectionStack]:
    """Connections to a server behind TLS."""
    with contextlib.ExitStack() as ends:
        yield _connections(ends, f"rediss://127.0.0.1:{tls_proxy.port}?ssl_ca_certs={certificate}")


def _connections(ends: contextlib.ExitStack, url: str) -> ConnectionStack:
    stack = ConnectionStack(client_from_url(url, 5.0).connection_pool, 4, 5.0)
    ends.callback(stack.close)
    return stack


def _byte_by_byte(client: socket.socket, data: bytes) -> None:
    for start in range(len(data)):
        client.sendall(data[start : start + 1])


def _with_junk(client: socket.socket, data: bytes) -> None:
    client.sendall(data + _JUNK if b"please" in data else data)


def _in_two_pieces(client: socket.socket, data: bytes) -> None:
    client.sendall(data[:-1])
    client.sendall(data[-1:])


def _lua(answer: str) -> bytes:
    return pack_words("EVAL", f"return {answer}", 0)


@pytest.mark.parametrize("deliver", [_at_once, _byte_by_byte, _in_two_pieces])
def test_replies_of_every_kind_arrive_whole(reach: Reach, deliver: Deliver) -> None:
    """Text short, long and empty, nothing, numbers and nested lists, at once or in pieces."""
    stack = reach(deliver)
    for _ in range(20):
        assert stack.ask(_lua("'short'")) == b"short"
        assert stack.ask(_lua("''")) == b""
        assert stack.ask(_lua("'\\r\\n$5\\r\\n'")) == b"\r\n$5\r\n"
        assert stack.ask(_lua("nil")) is None
        assert stack.ask(_lua("-7")) == -7
        assert stack.ask(_lua("{'a', {1, {}}, 'b'}")) == [b"a", [1, []], b"b"]
        with pytest.raises(redis.ResponseError, match="mine"):
            stack.ask(_lua("redis.error_reply('ERR mine')"))


@pytest.mark.parametrize("size", [4000, 4080, 4087, 4088, 4089, 4090, 4096, 5000, 300_000])
def test_long_replies_arrive_whole(reach: Reach, size: int) -> None:
    """Below, at and above the size that is taken from the socket at once."""
    stack = reach(_at_once)
    for letter in "abc":
        assert stack.ask(_lua(f"string.rep('{letter}', {size})")) == letter.encode() * size


def test_what_nobody_asked_for_is_never_an_answer(reach: Reach) -> None:
    """A server that says more than it was asked loses the connection, and nothing else is lost."""
    stack = reach(_with_junk)
    for number in range(50):
        assert stack.ask(pack_words("ECHO", f"please {number}")) == b"please %d" % number
        assert stack.ask(pack_words("ECHO", f"n{number}")) == b"n%d" % number
        with pytest.raises(redis.ResponseError):
            stack.ask(pack_words("NOSUCHCOMMAND"))


def test_many_requests_go_together(reach: Reach) -> None:
    """Their replies come in order; a refused one stands among them and harms none."""
    stack = reach(_in_two_pieces)
    requests = [pack_words("ECHO", f"{number}") for number in range(3000)]
    requests[7] = pack_words("NOSUCHCOMMAND")
    replies = stack.ask_many(requests)
    assert isinstance(replies[7], redis.ResponseError)
    assert replies[:7] + replies[8:] == [b"%d" % number for number in range(3000) if number != 7]
    assert stack.ask(pack_words("ECHO", "next")) == b"next"


def test_tls_keeps_its_connection(over_tls: ConnectionStack) -> None:
    """Over TLS one connection serves request after request, short replies and long ones."""
    number = over_tls.ask(pack_words("CLIENT", "ID"))
    for size in (0, 10, 5000, 100_000):
        assert over_tls.ask(_lua(f"string.rep('x', {size})")) == b"x" * size
        assert over_tls.ask(pack_words("CLIENT", "ID")) == number


def test_a_tls_connection_closed_by_the_server_is_opened_again(
    over_tls: ConnectionStack, tls_proxy: _Proxy, any_server: RunningServer
) -> None:
    """It is noticed before the next request is sent."""
    for _ in range(10):
        number = over_tls.ask(pack_words("CLIENT", "ID"))
        with any_server.client() as client:
            client.client_kill_filter(_id=number)
        eventually(lambda: not tls_proxy.clients, "the connection is closed")
        assert over_tls.ask(pack_words("ECHO", "again")) == b"again"
