"""A round-robin HTTP proxy, run as a process.

python -m benchmarks.prediction.round_robin PORT UPSTREAM_PORT...
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Upstreams:
    """Connections to servers on this machine, which are kept open."""

    def __init__(self) -> None:
        self._idle: defaultdict[int, deque[Connection]] = defaultdict(deque)

    async def answer(self, port: int, message: bytes) -> bytes:
        """Answer of the server at a port.

        Raises:
            IncompleteReadError, OSError: it cannot be reached, or breaks off.
        """
        idle = self._idle[port]
        while idle and idle[-1][0].at_eof():  # the server closed it meanwhile
            idle.pop()[1].close()
        upstream = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        upstream[1].write(message)
        answer = await read_message(upstream[0])
        if ends_connection(message) or ends_connection(answer):
            upstream[1].close()
        else:
            idle.append(upstream)
        return answer

    async def close(self) -> None:
        """Close all."""
        for _, writer in itertools.chain.from_iterable(self._idle.values()):
            writer.close()
            await writer.wait_closed()


class RoundRobin:
    """Forwards HTTP/1.1 messages that have a Content-Length."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._turns: Iterator[int] = itertools.cycle(ports)
        self._upstreams = Upstreams()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one caller's connection until it closes."""
        try:
            while True:
                message = await read_message(reader)
                writer.write(await self._upstreams.answer(next(self._turns), message))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def close(self) -> None:
        """Close the connections to the servers."""
        await self._upstreams.close()


def ends_connection(message: bytes) -> bool:
    """Whether the server closes its connection after this message."""
    head = message.partition(b"\r\n\r\n")[0].lower()
    return any(line.replace(b" ", b"") == b"connection:close" for line in head.split(b"\r\n"))


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Read one message; returns head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    return head + await reader.readexactly(length)


async def serve(port: int, upstreams: Sequence[int]) -> None:
    """Serve until the process is ended."""
    server = await asyncio.start_server(RoundRobin(upstreams).handle, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
