"""uvicorn's HTTP/1.1 protocol with limits: how large and how slow a request's head and a response's reader may be.

The limits of a body are in :mod:`serving.body`, since a body is read while its request is handled.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httptools
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from protocol.error_codes import ERROR_CODE_HEADER
from protocol.errors import HeadTooLarge, InvalidRequest, RequestTimeout, YiwenError
from serving.metrics import ConnectionMetrics

RECEIVED_AT = "yiwen_received_at"
"""Key in the scope's ``state``: when the request's first byte arrived, seconds of ``time.monotonic``."""
HAS_ARRIVED = "yiwen_has_arrived"
"""Key in the scope's ``state``, true once the whole request has arrived: reading its body needs no time limit."""
MAX_HEAD_BYTES = 64 * 1024
"""Most bytes of a request's line and headers, and of what stands between the parts of a chunked body."""
MAX_HEADERS = 100
"""Most headers of a request, trailers included."""
MIN_PROGRESS_BYTES = 16 * 1024
"""What a client must read of a response within the write timeout, in bytes."""
_STEP_BYTES = 8192
"""Bytes that are parsed at a time, which is how exactly incomplete headers are measured."""
_HEADER_OVERHEAD = 4
"""Bytes of a header beside name and value."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Time limits of a connection."""

    head_timeout_s: float
    """From the first byte of a request to the end of its headers, seconds."""
    write_timeout_s: float
    """Seconds in which a client that lags behind must read :data:`MIN_PROGRESS_BYTES` of a response."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. A request that exceeds a limit is answered with its error, and the connection is closed."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        metrics: ConnectionMetrics,
    ) -> None:
        """Serve one connection.

        Args:
            config: of uvicorn, as the three arguments after it.
            server_state: shared by all connections.
            app_state: copied into each request's scope.
            _loop: None for the running loop.
            limits: of the connection.
            metrics: counts connections that are closed for their client.
        """
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._metrics = metrics
        self._reading_head = False
        self._head_bytes = 0
        self._head_count = 0
        self._unparsed = 0
        """Bytes since the parser last reported a part of a request."""
        self._head_timer: asyncio.TimerHandle | None = None
        """Runs while a head is incomplete; most arrive whole and need none."""
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start with the timer of an idle connection."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._stop_head_timer()
        self._stop_write_timer()

    def data_received(self, data: bytes) -> None:
        """Parse; the timer of an idle connection runs until a request begins."""
        if len(data) <= _STEP_BYTES:
            self._parse(data)
            return
        view = memoryview(data)
        for at in range(0, len(data), _STEP_BYTES):
            if not self.transport.is_closing():
                self._parse(view[at : at + _STEP_BYTES])

    def _parse(self, data: bytes | memoryview) -> None:
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
            if self._unparsed > MAX_HEAD_BYTES:
                raise _head_too_large()
            if self._reading_head and self._head_timer is None:
                self._head_timer = self.loop.call_later(self._limits.head_timeout_s, self._head_timed_out)
        except httptools.HttpParserUpgrade:
            return  # no protocol is offered: the request was answered as if it had not asked for one
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, YiwenError) else _malformed())
        except httptools.HttpParserError:
            self._refuse(_malformed())
        except HeadTooLarge as error:
            self._refuse(error)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self.scope["state"][RECEIVED_AT] = time.monotonic()
        self._reading_head = True
        self._head_bytes = self._head_count = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._unparsed = 0
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers are counted and dropped."""
        self._unparsed = 0
        self._head_count += 1
        self._head_bytes += len(name) + len(value) + _HEADER_OVERHEAD
        if self._head_bytes > MAX_HEAD_BYTES or self._head_count > MAX_HEADERS:
            raise _head_too_large()
        if self._reading_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start to handle the request."""
        self._unparsed = 0
        self._reading_head = False
        if self._head_timer is not None:
            self._stop_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of the request."""
        self._unparsed = 0
        self.scope["state"][HAS_ARRIVED] = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A connection that is closed must still be read to its end in time."""
        super().on_response_complete()
        if self.transport.is_closing() and self._write_timer is None:
            self._start_write_timer()

    def pause_writing(self) -> None:
        """The client lags behind."""
        super().pause_writing()
        if self._write_timer is None:
            self._start_write_timer()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_write_timer()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, whether or not its client has read all of the last response."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _head_timed_out(self) -> None:
        self._refuse(
            RequestTimeout(f"the request's headers did not arrive within {self._limits.head_timeout_s:g} s")
        )

    def _refuse(self, error: YiwenError) -> None:
        """Close the connection, with ``error`` as the answer unless another answer has begun or precedes it."""
        if self.transport.is_closing():
            return
        self._metrics.refused(error.status)
        pending = self.cycle is not None and not self.cycle.response_complete
        if pending and self._reading_head:
            self.cycle.keep_alive = False  # an earlier request is still being answered
            self.flow.pause_reading()
            return
        if not (pending and self.cycle.response_started):
            self.transport.write(_response(error))
        self.transport.close()

    def _start_write_timer(self) -> None:
        size = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self._limits.write_timeout_s, self._check_progress, size)

    def _check_progress(self, size_before: int) -> None:
        self._write_timer = None
        if self.transport.get_write_buffer_size() <= size_before - MIN_PROGRESS_BYTES:
            self._start_write_timer()
            return
        self._metrics.not_read()
        self.transport.abort()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"the request's headers are more than {MAX_HEAD_BYTES} bytes, or more than {MAX_HEADERS}; send fewer"
    )


def _malformed() -> InvalidRequest:
    return InvalidRequest("the request is not HTTP/1.1")


def _response(error: YiwenError) -> bytes:
    """A whole response, after which the connection is closed."""
    body = orjson.dumps({"error": error.message, "code": error.code.value})
    headers = {
        "content-type": "application/json",
        "content-length": len(body),
        "connection": "close",
        ERROR_CODE_HEADER: error.code.value,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"%s%s\r\n%s" % (STATUS_LINE[error.status], lines.encode(), body)
