"""A minimal HTTP/1.1 client connection for the load generator, one request at a time.

httptools parses the answers, as it parses the requests in the servers measured.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import httptools


class Broken(Exception):
    """The connection closed before the answer was complete."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response, and its times on ``time.perf_counter``."""

    status: int
    body: bytes
    first: float
    """Time of the body's first byte: of a stream, its first event."""
    last: float


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[RawResponse] | None = None
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._first = 0.0
        self._keep = True

    @property
    def idle(self) -> bool:
        """Whether a request can be sent."""
        if not self._keep or self._transport is None or self._transport.is_closing():
            return False
        # The answer of a cancelled request is still to come.
        return self._answer is None or (self._answer.done() and not self._answer.cancelled())

    def send(self, request: bytes) -> asyncio.Future[RawResponse]:
        """Send a request, head and body; returns a future of the response.

        Raises:
            Broken: through the future, if the server closes early.
        """
        if self._transport is None:
            raise RuntimeError("a request can be sent once the connection is made")
        self._answer = asyncio.get_running_loop().create_future()
        self._parts, self._first = [], 0.0
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Close it, even with a request in flight."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is not one by its type

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(Broken(f"the answer is not HTTP: {error}"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._keep = False
        self._fail(Broken("the server closed the connection before the answer was complete"))

    def on_body(self, part: bytes) -> None:
        """Called by httptools with a part of the body."""
        if not self._parts:
            self._first = time.perf_counter()
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Called by httptools at the end of a response."""
        now = time.perf_counter()
        parser, self._parser = self._parser, httptools.HttpResponseParser(self)
        self._keep = parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            answer = RawResponse(parser.get_status_code(), b"".join(self._parts), self._first or now, now)
            self._answer.set_result(answer)

    def _fail(self, error: Broken) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
