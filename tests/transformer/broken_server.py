"""A TCP server that speaks just enough HTTP to break off at a chosen moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from protocol.codec import (
    decode_rest_request,
    encode_rest_response,
    generate_request_from_infer,
    infer_from_generate_response,
)
from tests.transformer.predictor_stand_in import RELEASE, echo

Deed = str
ANSWER, CLOSE_BEFORE, CLOSE_WITHIN, NOT_HTTP, SILENT = (
    "answer",
    "close before",
    "close within",
    "not http",
    "silent",
)

_READY = b'HTTP/1.1 200 OK\r\ncontent-length: 33\r\n\r\n{"versions":["%s"]}' % RELEASE.encode()
"""The answer to all questions, whether it is ready and which release it serves."""


class BrokenServer:
    """Does ``deed(connection, request)`` with each POST; both are counted from 0, requests per connection."""

    def __init__(self, deed: Callable[[int, int], Deed]) -> None:
        self.url = ""
        self.connections = 0
        self.requests = 0
        self._deed = deed

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, self.connections = self.connections, self.connections + 1
        try:
            for number in range(100):
                headers, body = await _read_request(reader)
                if not body:  # a readiness probe
                    writer.write(_READY)
                    continue
                self.requests += 1
                if not await self._do(self._deed(connection, number), headers, body, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _do(
        self,
        deed: Deed,
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Whether the connection stays open."""
        if deed == CLOSE_BEFORE:
            return False
        if deed == SILENT:
            await reader.read()
            return False
        if deed == NOT_HTTP:
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
            return False
        response = _answer(headers, body)
        writer.write(response if deed == ANSWER else response[:-3])
        await writer.drain()
        return deed == ANSWER


@asynccontextmanager
async def breaking(deed: Callable[[int, int], Deed]) -> AsyncIterator[BrokenServer]:
    broken = BrokenServer(deed)
    server = await asyncio.start_server(broken.handle, "127.0.0.1", 0)
    broken.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield broken
    finally:
        server.close()


async def _read_request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
    return headers, await reader.readexactly(int(headers.get("content-length", 0)))


def _answer(headers: dict[str, str], body: bytes) -> bytes:
    infer = decode_rest_request(body, headers, "tiny")
    answer = infer_from_generate_response(echo(generate_request_from_infer(infer)), infer)
    content, sent = encode_rest_response(answer, infer)
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(content)}\r\n\r\n".encode() + content
