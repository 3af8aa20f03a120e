"""The REST server: an ASGI application in front of the SDK's.

Inference, unary or streamed, is handled here without a framework. Other POSTs (routes that a service adds) are
delegated to the SDK's application within the same request scope: request id, size limit, drain, error table, one log
line. GETs are passed on unchanged to the routes of :mod:`serving.endpoints`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocol.codec import decode_rest_request, encode_rest_response
from protocol.errors import CallerGone, RequestTimeout, YiwenError
from serving.body import read_body
from serving.body_budget import BodyBudget
from serving.disconnect import cancel_on_disconnect
from serving.error_responses import REQUEST_SCOPE, RestResponse, error_response
from serving.event_stream import EventStream
from serving.http_protocol import RECEIVED_AT
from serving.memory import MemoryTrimmer
from serving.metrics import Operation
from serving.model import RequestInfo
from serving.requests import RequestScope, ServingContext, new_request_info
from serving.settings import ServerSettings

REQUEST_ID = "x-request-id"
_REQUEST_ID_HEADER = REQUEST_ID.encode()
_CLOSE = (b"connection", b"close")
INFER, GENERATE, STREAM = (
    Operation("rest", endpoint=name) for name in ("infer", "generate", "generate_stream")
)
_OTHER = Operation("rest")


class InferenceApp:
    """The ASGI application that uvicorn runs."""

    def __init__(self, app: ASGIApp, serving: ServingContext, settings: ServerSettings) -> None:
        self._app = app
        self._serving = serving
        self._settings = settings
        self.bodies = self._bodies = BodyBudget(settings.max_bodies_bytes)
        self._memory = MemoryTrimmer()
        model = f"/v2/models/{serving.model.name}"
        paths = [model, *(f"{model}/versions/{version}" for version in serving.model.versions)]
        self._operations: dict[str, Operation] = {}
        self._unary: dict[str, Callable[[bytes, RequestInfo], Coroutine[Any, Any, RestResponse]]] = {}
        """Handlers that send one complete response, by path."""
        for path in paths:
            self._unary |= {f"{path}/infer": self._infer, f"{path}/generate": self._generate}
            self._operations |= {f"{path}/{each.endpoint}": each for each in (INFER, GENERATE, STREAM)}
        for operation in (INFER, GENERATE, STREAM):
            serving.metrics.expect(operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        state = scope.get("state", {})
        info = new_request_info(headers, "rest", state.get(RECEIVED_AT))
        operation = self._operations.get(scope["path"], _OTHER)
        with (
            self._serving.request(info, operation) as request_scope,
            self._bodies.counting(request_scope.body(receive, self._settings, state).receive) as receive,
        ):
            handler = self._unary.get(scope["path"])
            if handler is not None:
                await self._handle(handler, request_scope, receive, send)
            elif operation is STREAM:
                await self._stream(request_scope, receive, send)
            else:
                await self._delegate(request_scope, scope, receive, send)

    async def _handle(
        self,
        handler: Callable[[bytes, RequestInfo], Coroutine[Any, Any, RestResponse]],
        request_scope: RequestScope,
        receive: Receive,
        send: Send,
    ) -> None:
        try:
            self._serving.admit()
            body = await read_body(receive)
            await self._bodies.turn(len(body))
            response = await cancel_on_disconnect(receive, handler(body, request_scope.info))
        # The outermost handler: whatever a model raises must become a response, or the connection breaks.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            response = error_response(request_scope.fail(error))
        await self._send(request_scope, response, send)

    async def _infer(self, body: bytes, info: RequestInfo) -> RestResponse:
        request = decode_rest_request(body, info.headers, self._serving.model.name)
        response = await self._serving.model.infer(request, info)
        return RestResponse(200, *encode_rest_response(response, request))

    async def _generate(self, body: bytes, info: RequestInfo) -> RestResponse:
        document = await self._serving.model.generate(body, info)
        return RestResponse(200, orjson.dumps(document), {"content-type": "application/json"})

    async def _stream(self, request_scope: RequestScope, receive: Receive, send: Send) -> None:
        info = request_scope.info
        stream = EventStream(send, self._extra_headers(info), heartbeat_s=self._settings.heartbeat_s)
        fault = None
        try:
            self._serving.admit()
            body = await read_body(receive)
            await self._bodies.turn(len(body))
            await cancel_on_disconnect(receive, stream.relay(self._serving.model.stream(body, info)))
        # The outermost handler, as in _handle.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            fault = request_scope.fail(error)
        if fault is not None and not stream.started:
            await self._send(request_scope, error_response(fault), send)
        elif not isinstance(fault, CallerGone):
            await stream.end(fault)

    async def _delegate(
        self, request_scope: RequestScope, scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope.setdefault("state", {})[REQUEST_SCOPE] = request_scope
        try:
            self._serving.admit()
        except YiwenError as error:
            await self._send(request_scope, error_response(request_scope.fail(error)), send)
            return
        channels = _DelegatedChannels(request_scope, receive, send)
        await self._app(scope, channels.receive, channels.send)

    async def _send(self, request_scope: RequestScope, response: RestResponse, send: Send) -> None:
        if response.status == CallerGone.code.http_status:
            return
        extra = self._extra_headers(request_scope.info)
        if response.status == RequestTimeout.code.http_status:
            extra.append(_CLOSE)  # the rest of the body would be read for ever
            self._memory.request()
        await _send(response, send, extra)

    def _extra_headers(self, info: RequestInfo) -> list[tuple[bytes, bytes]]:
        extra = [(_REQUEST_ID_HEADER, info.request_id.encode())]
        if self._serving.gate.draining:
            extra.append(_CLOSE)  # the client's next request should reach another replica
        return extra


class ErrorMiddleware:
    """Middleware of the SDK's application that turns exceptions into responses.

    The framework's own error handler, outside of it, closes the connection after every exception.
    """

    def __init__(self, app: ASGIApp, serving: ServingContext) -> None:
        self._app = app
        self._serving = serving

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
        # The outermost handler, as in InferenceApp._handle.
        except (Exception, asyncio.CancelledError) as error:
            request_scope: RequestScope | None = scope.get("state", {}).get(REQUEST_SCOPE)
            if request_scope is None:
                # A GET, which has no scope.
                request_scope = RequestScope(self._serving, new_request_info({}, "rest"), _OTHER)
            response = error_response(request_scope.fail(error))
            if started:
                raise  # the response has begun: only closing the connection shows that it is incomplete
            if response.status != CallerGone.code.http_status:
                await _send(response, send)


class _DelegatedChannels:
    """``receive`` and ``send`` of a delegated request: limits the body, records status and disconnect."""

    def __init__(self, request_scope: RequestScope, receive: Receive, send: Send) -> None:
        self._request_scope = request_scope
        self._receive = receive
        self._send = send
        self._complete = False

    async def receive(self) -> Message:
        try:
            message = await self._receive()
        except YiwenError as error:
            # The framework hides any other exception that is raised while it reads a body.
            headers = {"connection": "close"} if isinstance(error, RequestTimeout) else None
            raise HTTPException(error.status, error.message, headers) from None
        if message["type"] == "http.disconnect" and not self._complete:
            self._request_scope.answered(CallerGone.code.http_status)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._request_scope.answered(message["status"])
            request_id = (_REQUEST_ID_HEADER, self._request_scope.info.request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), request_id]}
        elif not message.get("more_body", False):
            self._complete = True
        await self._send(message)


async def _send(response: RestResponse, send: Send, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
    headers += [(b"content-length", b"%d" % len(response.body)), *extra]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
