"""An HTTP route that splits requests between processes by weight, as Knative's ingress does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random

from benchmarks.prediction.round_robin import Upstreams, read_message

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
        self._upstreams = Upstreams()
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
        await self._upstreams.close()

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
            return await self._upstreams.answer(port, message)
        except (asyncio.IncompleteReadError, OSError):
            return UNAVAILABLE
