"""The body of a REST request: decoded from its Content-Encoding, bounded in size and in time."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import brotli
from starlette.types import Message, Receive

from protocol.error_codes import ErrorCode
from protocol.errors import CallerGone, InvalidRequest, RequestTimeout, TooLong, UnsupportedEncoding
from serving.task_timeout import TaskTimeout

ENCODINGS = ("gzip", "deflate", "br")
"""Content codings that are read (RFC 9110, section 8.4.1)."""
MAX_RATIO = 200
"""How many times larger than its compressed form a body may be, once it is larger than :data:`RATIO_FREE_BYTES`."""
RATIO_FREE_BYTES = 2**20
_GZIP = 16
"""Added to zlib's window bits: the data has a gzip header."""


class RequestBody:
    """``receive`` of a request whose messages hold the decoded body."""

    def __init__(
        self,
        receive: Receive,
        headers: Mapping[str, str],
        *,
        max_bytes: int,
        timeout_s: float,
        on_complete: Callable[[], None] | None,
    ) -> None:
        """Prepare to read; nothing is read yet.

        Args:
            receive: the request's ASGI ``receive``.
            headers: names in lower case.
            max_bytes: largest body, before and after decoding.
            timeout_s: seconds from now within which the whole body must arrive.
            on_complete: called when it has; None if it has already, so that there is no time limit.
        """
        self._complete = False
        self._on_complete = on_complete
        self._receive = receive
        self._max_bytes = max_bytes
        self._size = 0
        self._headers = headers
        self._decoder: _BoundedDecoder | None = None
        self._begun = False
        self._timeout = None
        if on_complete is not None:
            late = f"the request's body did not arrive within {timeout_s:g} s"
            self._timeout = TaskTimeout(timeout_s, lambda: RequestTimeout(late))

    async def receive(self) -> Message:
        """The next message.

        Raises:
            TooLong: the body is larger than allowed, compressed or not.
            UnsupportedEncoding: it has a content coding that is not in :data:`ENCODINGS`.
            InvalidRequest: it cannot be decoded.
            RequestTimeout: it did not arrive in time.
        """
        if self._complete:
            return await self._receive()
        if not self._begun:
            self._begin()
        if self._timeout is None:
            message = await self._receive()
        else:
            with self._timeout:
                message = await self._receive()
        if message["type"] != "http.request":
            return message
        part, more = message.get("body", b""), message.get("more_body", False)
        self._size += len(part)
        if self._size > self._max_bytes:
            raise _too_long(self._max_bytes)
        if not more:
            self._complete = True
            if self._on_complete is not None:
                self._on_complete()
        if self._decoder is None:
            return message
        return {**message, "body": self._decoder.feed(part, last=not more)}

    def _begin(self) -> None:
        """Refuse what the headers say cannot be read."""
        self._begun = True
        announced = self._headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            raise _too_long(self._max_bytes)
        self._decoder = _decoder(self._headers.get("content-encoding", ""), self._max_bytes)


async def read_body(receive: Receive) -> bytes:
    """The whole body that ``receive`` gives.

    Raises:
        YiwenError: as :meth:`RequestBody.receive`; CallerGone if the client disconnects first.
    """
    parts = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone("the caller closed the connection before the request was complete")
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Decompressor(Protocol):
    """One content coding."""

    def feed(self, part: bytes, room: int) -> bytes:
        """What ``part`` decodes to; as soon as that is more than ``room`` bytes, some bytes more than that."""

    @property
    def finished(self) -> bool:
        """Whether the compressed data is complete."""


class _Zlib:
    """``gzip`` and ``deflate``; the latter with or without a zlib header, since clients send both."""

    def __init__(self, coding: str) -> None:
        self._inflate = None if coding == "deflate" else zlib.decompressobj(zlib.MAX_WBITS | _GZIP)

    def feed(self, part: bytes, room: int) -> bytes:
        if not part:
            return b""
        if self._inflate is None:
            has_header = part[0] & 0x0F == zlib.DEFLATED  # RFC 1950; no encoder begins raw deflate like this
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        return self._inflate.decompress(part, room + 1)

    @property
    def finished(self) -> bool:
        return self._inflate is not None and self._inflate.eof and not self._inflate.unused_data


class _Brotli:
    """``br``."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def feed(self, part: bytes, room: int) -> bytes:
        data: bytes = self._decompressor.process(part, output_buffer_limit=room + 1)
        while len(data) <= room and not self._decompressor.can_accept_more_data():
            data += self._decompressor.process(b"", output_buffer_limit=room + 1 - len(data))
        return data

    @property
    def finished(self) -> bool:
        return bool(self._decompressor.is_finished())


class _BoundedDecoder:
    """Decodes a body and bounds what comes out."""

    def __init__(self, decompressor: _Decompressor, max_bytes: int) -> None:
        self._decompressor = decompressor
        self._max_bytes = max_bytes
        self._compressed = self._size = 0

    def feed(self, part: bytes, *, last: bool) -> bytes:
        self._compressed += len(part)
        allowed = min(self._max_bytes, max(RATIO_FREE_BYTES, MAX_RATIO * self._compressed))
        try:
            data = self._decompressor.feed(part, allowed - self._size)
        except (zlib.error, brotli.error):
            raise InvalidRequest("the body is not what its Content-Encoding says") from None
        self._size += len(data)
        if self._size > self._max_bytes:
            raise _too_long(self._max_bytes)
        if self._size > allowed:
            message = f"the body is compressed by more than {MAX_RATIO} to 1; send it uncompressed"
            raise TooLong(message, code=ErrorCode.BODY_TOO_LARGE)
        if last and not self._decompressor.finished:
            raise InvalidRequest("the body ends before its compressed data does, or goes on after it")
        return data


def _decoder(coding: str, max_bytes: int) -> _BoundedDecoder | None:
    coding = coding.strip().lower().removeprefix("x-")  # x-gzip is gzip (RFC 9110, section 8.4.1.3)
    if coding in ("", "identity"):
        return None
    if coding not in ENCODINGS:
        raise UnsupportedEncoding(f"Content-Encoding must be one of {', '.join(ENCODINGS)}, or absent")
    return _BoundedDecoder(_Brotli() if coding == "br" else _Zlib(coding), max_bytes)


def _too_long(max_bytes: int) -> TooLong:
    fix = "send fewer texts at a time, or raise YIWEN_MAX_BODY_BYTES"
    return TooLong(f"the request is longer than {max_bytes} bytes; {fix}", code=ErrorCode.BODY_TOO_LARGE)
