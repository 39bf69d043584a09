"""A slow network: a TCP proxy that holds up each chunk, in each direction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

__all__ = ["slow_network"]

_CHUNK = 65_536
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def slow_network(url: str, delay: float) -> Iterator[str]:
    """Give the URL of a server at the end of a slow network.

    Args:
        url: URL of the server itself, redis:// or unix://.
        delay: Seconds that a chunk takes in each direction.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = _Proxy(url, delay)
    try:
        port = asyncio.run_coroutine_threadsafe(proxy.listen(), loop).result(10)
        yield _with_port(url, port)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    credentials = parts.netloc.rpartition("@")[0]
    netloc = f"{credentials}@127.0.0.1:{port}" if credentials else f"127.0.0.1:{port}"
    path = "" if parts.scheme == "unix" else parts.path
    return urlunsplit(("redis", netloc, path, parts.query, ""))


class _Proxy:
    def __init__(self, url: str, delay: float) -> None:
        self._target = urlsplit(url)
        self._delay = delay
        self._conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def listen(self) -> int:
        """Begin to listen and return the port."""
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """End all conversations."""
        self._server.close()
        # Not by cancelling: asyncio would complain of conversations that were.
        for writer in self._conversations.values():
            writer.close()
        while self._conversations:
            await asyncio.wait(list(self._conversations))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations[task] = writer
        task.add_done_callback(self._conversations.pop)
        far_reader, far_writer = await self._connect()
        # Whichever side ends first ends both.
        ways = [
            asyncio.create_task(self._carry(reader, far_writer)),
            asyncio.create_task(self._carry(far_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, far_writer):
            end.close()
        await asyncio.wait(ways)

    async def _connect(self) -> _Streams:
        if self._target.scheme == "unix":
            return await asyncio.open_unix_connection(self._target.path)
        return await asyncio.open_connection(
            self._target.hostname or "127.0.0.1", self._target.port or 6379
        )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass chunks on, each after the delay and in order, until the reader ends."""
        loop = asyncio.get_running_loop()
        underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(underway, writer))
        try:
            with suppress(ConnectionError):
                while chunk := await reader.read(_CHUNK):
                    underway.put_nowait((loop.time() + self._delay, chunk))
        finally:
            delivery.cancel()

    async def _deliver(
        self, underway: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, chunk = await underway.get()
            await asyncio.sleep(due - loop.time())
            writer.write(chunk)
