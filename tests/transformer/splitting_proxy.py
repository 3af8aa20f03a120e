"""A proxy that splits traffic at random, as for a canary."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class SplittingProxy:
    """Passes on HTTP/1.1 messages whose length is announced."""

    def __init__(self, upstreams: Sequence[str], rng: random.Random) -> None:
        self.url = ""
        self.sent = [0] * len(upstreams)
        """Requests that went to each server."""
        self._upstreams = [urlsplit(url) for url in upstreams]
        self._rng = rng

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstreams: dict[int, _Connection] = {}
        try:
            while True:
                message = await read_message(reader)
                number = self._rng.randrange(len(self._upstreams))
                self.sent[number] += 1
                if number not in upstreams:
                    address = self._upstreams[number]
                    upstreams[number] = await asyncio.open_connection(address.hostname, address.port)
                upstream_reader, upstream_writer = upstreams[number]
                upstream_writer.write(message)
                writer.write(await read_message(upstream_reader))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            for connection in (writer, *(pair[1] for pair in upstreams.values())):
                connection.close()


@asynccontextmanager
async def splitting(*upstreams: str, seed: int = 0) -> AsyncIterator[SplittingProxy]:
    """A proxy on a free port that splits evenly between ``upstreams``."""
    proxy = SplittingProxy(upstreams, random.Random(seed))
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP/1.1 message whose length is announced."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head + await reader.readexactly(length)
