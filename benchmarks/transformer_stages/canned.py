"""A server with one fixed answer, which shows the highest rate of the load generator.

``python -m benchmarks.transformer_stages.canned PORT``
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import cast

import httptools

from benchmarks.transformer_stages.generator import new_loop

BODY = b'{"outputs":[{"name":"translation","shape":[1],"datatype":"BYTES","data":["canned"]}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


class Canned(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is not one by its type

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """The end of a request (httptools)."""
        assert self._transport is not None
        self._transport.write(ANSWER)


async def serve(port: int) -> None:
    """Answer until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Canned, "127.0.0.1", port, backlog=1024)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    new_loop().run_until_complete(serve(int(sys.argv[1])))
