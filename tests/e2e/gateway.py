"""A reverse proxy as a process: forwards HTTP/1.1 requests to one server, and answers 502 when that fails.

Run as ``python -m tests.e2e.gateway PORT UPSTREAM_PORT``. As nginx, Envoy and Knative's queue-proxy do, it keeps the
client's connection open, and answers in the server's place, without its headers.
"""

from __future__ import annotations

import asyncio
import sys

from tests.transformer.splitting_proxy import read_message

BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 11\r\n\r\nbad gateway"


async def forward(message: bytes, port: int) -> bytes:
    """The server's response to ``message``, or a 502."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return BAD_GATEWAY
    try:
        writer.write(message)
        return await read_message(reader)
    except (asyncio.IncompleteReadError, OSError):
        return BAD_GATEWAY
    finally:
        writer.close()


async def serve(port: int, upstream_port: int) -> None:
    """Forward until the process ends."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(await forward(await read_message(reader), upstream_port))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
