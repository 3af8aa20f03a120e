"""A streamed response: server-sent events over ASGI, with heartbeats.

The status line is sent with the first event or heartbeat, so that an error before it becomes an ordinary error
response. A later error becomes the stream's last event. Admission, error mapping and disconnects are handled by
:mod:`serving.rest`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from starlette.types import Send

from protocol.codec import EVENT_STREAM, HEARTBEAT, encode_error_event, encode_event
from protocol.errors import YiwenError
from serving.model import NamedEvent

HEARTBEAT_S = 10.0
"""Seconds without an event after which a comment is sent: below the idle timeout of common proxies."""

_HEADERS = (
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would buffer events
)


class EventStream:
    """The sender of one streamed response."""

    def __init__(
        self, send: Send, headers: Sequence[tuple[bytes, bytes]], *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        """Prepare a response; nothing is sent yet.

        Args:
            send: the request's ASGI ``send``.
            headers: sent in addition to those of every event stream.
            heartbeat_s: seconds without an event after which a comment is sent.
        """
        self.started = False
        """Whether the status line was sent."""
        self._send = send
        self._headers = [*_HEADERS, *headers]
        self._heartbeat_s = heartbeat_s
        self._sending = asyncio.Lock()
        """Held while a frame is sent: heartbeats are sent by another task."""
        self._idle = True

    async def relay(self, events: AsyncGenerator[Mapping[str, object] | NamedEvent | bytes, None]) -> None:
        """Send each item of ``events``, bytes as they are, when it is produced, and heartbeats in between.

        Raises:
            Exception: whatever ``events`` raises; ``events`` is closed in any case.
        """
        heartbeats = asyncio.create_task(self._send_heartbeats())
        try:
            async with aclosing(events):
                async for event in events:
                    self._idle = False
                    await self._write(_encode(event))
        finally:
            heartbeats.cancel()

    async def end(self, fault: YiwenError | None) -> None:
        """End the response, with an error event if ``fault`` is given."""
        await self.finish(b"" if fault is None else encode_error_event(fault))

    async def finish(self, frame: bytes) -> None:
        """End the response with a complete event, or with none."""
        await self._write(frame, more=False)

    async def _send_heartbeats(self) -> None:
        while True:
            self._idle = True
            await asyncio.sleep(self._heartbeat_s)
            if self._idle:
                await self._write(HEARTBEAT)

    async def _write(self, frame: bytes, *, more: bool = True) -> None:
        async with self._sending:
            if not self.started:
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
                self.started = True
            await self._send({"type": "http.response.body", "body": frame, "more_body": more})


def _encode(event: Mapping[str, object] | NamedEvent | bytes) -> bytes:
    if isinstance(event, bytes):
        return event
    return encode_event(event.document, event.name) if isinstance(event, NamedEvent) else encode_event(event)
