"""An answer that is sent piece by piece, as server-sent events.

The status line waits for the first event or heartbeat, so that a failure at the door is still an ordinary error. One
that comes later is the stream's last event. Admission, failures' names and callers that leave are
:mod:`serving.rest`'s.
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
"""Seconds of silence after which a comment is sent: below the idle timeout of common proxies."""

_HEADERS = (
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events before it passes them on
)


class EventStream:
    """One answer on its way out over ASGI."""

    def __init__(
        self, send: Send, headers: Sequence[tuple[bytes, bytes]], *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        """Nothing is sent yet.

        Args:
            send: the request's.
            headers: beside those that every stream has.
            heartbeat_s: seconds of silence after which a comment is sent.
        """
        self.started = False
        """Whether the status line is out."""
        self._send = send
        self._headers = [*_HEADERS, *headers]
        self._heartbeat_s = heartbeat_s
        self._sending = asyncio.Lock()
        """Held while a frame goes out: heartbeats come from a task of their own."""
        self._silent = True

    async def relay(self, events: AsyncGenerator[Mapping[str, object] | NamedEvent, None]) -> None:
        """Send every item of ``events`` as it comes, and heartbeats while none does.

        Raises:
            Exception: what ``events`` raises; it is closed in any case.
        """
        heart = asyncio.create_task(self._beat())
        try:
            async with aclosing(events):
                async for event in events:
                    self._silent = False
                    await self._write(_encode(event))
        finally:
            heart.cancel()

    async def end(self, fault: YiwenError | None) -> None:
        """Close the answer, with an error event if it is not whole."""
        await self._write(b"" if fault is None else encode_error_event(fault), more=False)

    async def _beat(self) -> None:
        while True:
            self._silent = True
            await asyncio.sleep(self._heartbeat_s)
            if self._silent:
                await self._write(HEARTBEAT)

    async def _write(self, frame: bytes, *, more: bool = True) -> None:
        async with self._sending:
            if not self.started:
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
                self.started = True
            await self._send({"type": "http.response.body", "body": frame, "more_body": more})


def _encode(event: Mapping[str, object] | NamedEvent) -> bytes:
    return encode_event(event.document, event.name) if isinstance(event, NamedEvent) else encode_event(event)
