"""An HTTP route that splits requests between processes by weight, as Knative's ingress does."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from random import Random

from benchmarks.prediction.round_robin import Connection, ends_connection, read_message

UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 19\r\n\r\n"
    b"no healthy upstream"
)
"""As Envoy answers."""

Weights = Callable[[], Mapping[int, float]]
"""Weight of each upstream by its port, at this moment."""


class WeightedRoute:
    """Forwards HTTP/1.1 messages that have a Content-Length; the weights are read for each."""

    def __init__(self, weights: Weights, rng: Random) -> None:
        """Serve nothing yet.

        Args:
            weights: of the upstreams.
            rng: chooses one of them for each request.
        """
        self._weights = weights
        self._rng = rng
        self._idle: dict[int, deque[Connection]] = {}
        self._server: asyncio.Server | None = None
        self.sent: Counter[int] = Counter()
        """Requests by the port that they went to."""
        self.url = ""

    async def __aenter__(self) -> WeightedRoute:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._server is not None:
            self._server.close()
        for connections in self._idle.values():
            for _, writer in connections:
                writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                message = await read_message(reader)
                writer.write(await self._answer(message))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, message: bytes) -> bytes:
        weights = {port: weight for port, weight in self._weights().items() if weight > 0}
        if not weights:
            return UNAVAILABLE
        (port,) = self._rng.choices(list(weights), list(weights.values()))
        self.sent[port] += 1
        try:
            return await self._forward(port, message)
        except (asyncio.IncompleteReadError, OSError):
            return UNAVAILABLE

    async def _forward(self, port: int, message: bytes) -> bytes:
        idle = self._idle.setdefault(port, deque())
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
