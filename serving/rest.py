"""The REST surface: an ASGI application in front of the SDK's, which it uses for what it need not touch.

Inference, whole or streamed, is answered here, without a framework in between. Other POSTs (routes a service adds)
go to the SDK's application with the same treatment around them: request id, size limit, drain, error table, one log
line. GETs go there as they are; :mod:`serving.endpoints` tells the truth on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocol.codec import decode_rest_request, encode_rest_response
from protocol.errors import CallerGone, ReleaseMismatch, TooLong, YiwenError
from serving.disconnect import unless_gone
from serving.event_stream import HEARTBEAT_S, EventStream
from serving.model import Call
from serving.requests import Desk, Record, error_headers, new_call

_RECORD = "yiwen_record"
REQUEST_ID = "x-request-id"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def error_reply(error: YiwenError) -> Reply:
    """``error`` as every REST endpoint sends it: ``{"error": ...}``, and the release that answered a 409."""
    document = {"error": error.message}
    if isinstance(error, ReleaseMismatch):
        document["release"] = error.serving
    headers = {"content-type": "application/json", **error_headers(error)}
    return Reply(error.status, orjson.dumps(document), headers)


def call_of(request: Request) -> Call:
    """The :class:`serving.model.Call` of a POST to a route that a service adds."""
    record: Record = request.scope["state"][_RECORD]
    return record.call


class Edge:
    """What uvicorn calls."""

    def __init__(
        self, app: ASGIApp, desk: Desk, max_body_bytes: int, *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._app = app
        self._desk = desk
        self._limit = max_body_bytes
        self._heartbeat_s = heartbeat_s
        path = f"/v2/models/{desk.model.name}"
        self._stream_path = path + "/generate_stream"
        self._whole: dict[str, Callable[[bytes, Call], Coroutine[Any, Any, Reply]]] = {
            path + "/infer": self._infer,
            path + "/generate": self._generate,
        }
        """What answers in one piece, by path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._desk.request(new_call(headers, "rest")) as record:
            answer = self._whole.get(scope["path"])
            if answer is not None:
                await self._answer(answer, record, receive, send)
            elif scope["path"] == self._stream_path:
                await self._stream(record, receive, send)
            else:
                await self._delegate(record, scope, receive, send)

    async def _answer(
        self,
        answer: Callable[[bytes, Call], Coroutine[Any, Any, Reply]],
        record: Record,
        receive: Receive,
        send: Send,
    ) -> None:
        try:
            self._desk.admit()
            body = await self._read(record.call, receive)
            reply = await unless_gone(receive, answer(body, record.call))
        # The outermost edge: whatever a model raises must become an answer, or the connection breaks.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            reply = error_reply(record.fail(error))
        await self._send(record, reply, send)

    async def _infer(self, body: bytes, call: Call) -> Reply:
        request = decode_rest_request(body, call.headers, self._desk.model.name)
        response = await self._desk.model.infer(request, call)
        return Reply(200, *encode_rest_response(response, request))

    async def _generate(self, body: bytes, call: Call) -> Reply:
        document = await self._desk.model.generate(body, call)
        return Reply(200, orjson.dumps(document), {"content-type": "application/json"})

    async def _stream(self, record: Record, receive: Receive, send: Send) -> None:
        call = record.call
        answer = EventStream(send, self._extra_headers(call), heartbeat_s=self._heartbeat_s)
        fault = None
        try:
            self._desk.admit()
            body = await self._read(call, receive)
            await unless_gone(receive, answer.relay(self._desk.model.stream(body, call)))
        # The outermost edge, as in _answer.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            fault = record.fail(error)
        if fault is not None and not answer.started:
            await self._send(record, error_reply(fault), send)
        elif not isinstance(fault, CallerGone):
            await answer.end(fault)

    async def _delegate(self, record: Record, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})[_RECORD] = record
        try:
            self._desk.admit()
            self._check_announced(record.call)
        except YiwenError as error:
            await self._send(record, error_reply(record.fail(error)), send)
            return
        watched = _Watched(record, receive, send, self._limit)
        await self._app(scope, watched.receive, watched.send)

    def _check_announced(self, call: Call) -> None:
        announced = call.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._limit:
            raise TooLong(_too_long(self._limit))

    async def _read(self, call: Call, receive: Receive) -> bytes:
        """The body, refused as soon as it is known to be too long."""
        self._check_announced(call)
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise CallerGone("the caller closed the connection before the request was complete")
            part = message.get("body", b"")
            size += len(part)
            if size > self._limit:
                raise TooLong(_too_long(self._limit))
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _send(self, record: Record, reply: Reply, send: Send) -> None:
        if reply.status == CallerGone.status:
            return
        await _send(reply, send, self._extra_headers(record.call))

    def _extra_headers(self, call: Call) -> list[tuple[bytes, bytes]]:
        extra = [(REQUEST_ID.encode(), call.request_id.encode())]
        if self._desk.gate.draining:
            extra.append((b"connection", b"close"))  # the caller's next request should find another replica
        return extra


class Guard:
    """Middleware of the SDK's application that turns exceptions into answers.

    It stands inside the framework's own error handler, which closes the connection after every exception that
    reaches it.
    """

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        # The outermost edge, as in Edge._answer.
        except (Exception, asyncio.CancelledError) as error:
            record: Record | None = scope.get("state", {}).get(_RECORD)
            if record is None:
                record = Record(self._desk, new_call({}, "rest"))  # a GET, which keeps no record
            reply = error_reply(record.fail(error))
            if started:
                raise  # half an answer is out: only a broken connection can say that it is not whole
            if reply.status != CallerGone.status:
                await _send(reply, send)


class _Watched:
    """``receive`` and ``send`` of a delegated request: limit the body, note status and departure."""

    def __init__(self, record: Record, receive: Receive, send: Send, limit: int) -> None:
        self._record = record
        self._receive = receive
        self._send = send
        self._left = limit
        self._limit = limit
        self._complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._complete:
            self._record.status = CallerGone.status
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            # The framework hides any other exception that comes up while it reads a body.
            raise HTTPException(TooLong.status, _too_long(self._limit))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._record.status = message["status"]
            request_id = (REQUEST_ID.encode(), self._record.call.request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), request_id]}
        elif not message.get("more_body", False):
            self._complete = True
        await self._send(message)


async def _send(reply: Reply, send: Send, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
    headers += [(b"content-length", b"%d" % len(reply.body)), *extra]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _too_long(limit: int) -> str:
    return (
        f"the request is longer than {limit} bytes; send fewer texts at a time, or raise YIWEN_MAX_BODY_BYTES"
    )
