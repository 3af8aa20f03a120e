"""The ASGI application of the public APIs besides the v2 protocol, in front of :class:`serving.rest.InferenceApp`.

An API is a table of routes and a form for errors. Its requests have what inference has: request id, size and time
limits of the body, drain, cancellation, error table, metrics and one log line.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from protocol.error_codes import ErrorCode
from protocol.errors import CallerGone, RequestTimeout, YiwenError
from serving.api_request import ApiRequest, EventFrames
from serving.body import read_body
from serving.body_budget import BodyBudget
from serving.disconnect import cancel_on_disconnect
from serving.error_responses import RestResponse
from serving.event_stream import EventStream
from serving.http_protocol import RECEIVED_AT
from serving.metrics import Operation
from serving.requests import RequestScope, ServingContext, error_headers, new_request_info
from serving.settings import ServerSettings

_REQUEST_ID = b"x-request-id"
_CLOSE = (b"connection", b"close")
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "Authorization, Content-Type",
    "access-control-allow-methods": "GET, POST",
    "access-control-max-age": "1728000",
}

Handler = Callable[[ApiRequest], Awaitable[RestResponse | EventFrames]]


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One method of one path."""

    method: str
    path: str
    """Parts in braces, such as ``{id}``, stand for one path segment."""
    handler: Handler
    operation: Mapping[str, object] = field(default_factory=dict)
    """The OpenAPI operation object."""
    claims: Callable[[ApiRequest], bool] | None = None
    """Which requests are this API's, where several APIs share a path; None: all that no other API claims."""


class PublicApi(Protocol):
    """One public API."""

    @property
    def name(self) -> str:
        """Value of the label ``api``."""
        ...

    @property
    def open_to_pages(self) -> bool:
        """Whether pages of every origin may call it (CORS)."""
        ...

    @property
    def routes(self) -> Sequence[ApiRoute]:
        """What it answers."""
        ...

    def error(self, error: YiwenError) -> RestResponse:
        """The response to an error, in the API's own form; common headers are added."""
        ...

    def error_event(self, error: YiwenError) -> bytes:
        """The server-sent event that ends a stream with an error."""
        ...


_Candidates = list[tuple[PublicApi, ApiRoute]]
_Methods = dict[str, _Candidates]
"""The APIs and routes of one path, by method."""


class ApiApp:
    """Answers the routes of all APIs; everything else goes on to ``app``."""

    def __init__(
        self,
        app: ASGIApp,
        apis: Sequence[PublicApi],
        serving: ServingContext,
        settings: ServerSettings,
        bodies: BodyBudget,
    ) -> None:
        """Build the table of routes.

        Args:
            app: takes what no API answers.
            apis: in the order in which they are asked whether a request on a shared path is theirs.
            serving: of the server.
            settings: limits of bodies.
            bodies: the memory of bodies, shared with inference.
        """
        self._app = app
        self._serving = serving
        self._settings = settings
        self._bodies = bodies
        self._paths: dict[str, _Methods] = {}
        patterns: dict[str, _Methods] = {}
        for api in apis:
            for route in api.routes:
                methods = (patterns if "{" in route.path else self._paths).setdefault(route.path, {})
                methods.setdefault(route.method, []).append((api, route))
                serving.metrics.expect(Operation("rest", api.name, route.path))
        for methods in self._paths.values():
            for candidates in methods.values():
                candidates.sort(key=lambda candidate: candidate[1].claims is None)
        self._patterns = [(_pattern(path), methods) for path, methods in patterns.items()]
        self._prefixes = tuple(path.partition("{")[0] for path in patterns)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods, arguments = self._find(scope) if scope["type"] == "http" else (None, {})
        if methods is None:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        state = scope.get("state", {})
        info = new_request_info(headers, "rest", state.get(RECEIVED_AT))
        with self._serving.request(info, _operation(*next(iter(methods.values()))[0])) as request_scope:
            body = request_scope.body(receive, self._settings, state)
            with self._bodies.counting(body.receive) as counted:
                await _Exchange(self, request_scope, scope, counted, send, arguments).run(methods)

    def _find(self, scope: Scope) -> tuple[_Methods | None, Mapping[str, str]]:
        path = scope["path"]
        methods = self._paths.get(path)
        if methods is None and self._prefixes and path.startswith(self._prefixes):
            for pattern, found in self._patterns:
                match = pattern.fullmatch(path)
                if match:
                    return found, match.groupdict()
        return methods, {}


class _Exchange:
    """One request and its response."""

    def __init__(
        self,
        app: ApiApp,
        request_scope: RequestScope,
        scope: Scope,
        receive: Receive,
        send: Send,
        arguments: Mapping[str, str],
    ) -> None:
        self._app = app
        self._request_scope = request_scope
        self._scope = scope
        self._receive = receive
        self._send = send
        self._arguments = arguments
        self._stream: EventStream | None = None

    async def run(self, methods: _Methods) -> None:
        """Answer."""
        api = next(iter(methods.values()))[0][0]
        method = self._scope["method"]
        candidates = methods.get("GET" if method == "HEAD" else method)
        if candidates is None:
            await self._refuse_method(api, methods)
            return
        api = candidates[-1][0]
        self._request_scope.operation = _operation(*candidates[-1])
        try:
            self._app._serving.admit()
            body = await read_body(self._receive)
            await self._app._bodies.turn(len(body))
            request = ApiRequest(
                method,
                self._scope["path"],
                self._arguments,
                self._scope["query_string"],
                body,
                self._request_scope.info,
            )
            api, route = _choose(candidates, request)
            self._request_scope.operation = _operation(api, route)
            response = await cancel_on_disconnect(self._receive, self._handle(api, route, request))
        # The outermost handler: whatever an API raises must become a response, or the connection breaks.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            await self._fail(api, error)
            return
        if response is not None:
            await self._respond(api, response)

    async def _handle(self, api: PublicApi, route: ApiRoute, request: ApiRequest) -> RestResponse | None:
        """The response; None for one that was streamed."""
        response = await route.handler(request)
        if isinstance(response, RestResponse):
            return response
        self._stream = EventStream(
            self._send, self._extra_headers(api), heartbeat_s=self._app._settings.heartbeat_s
        )
        await self._stream.relay(response.frames)
        await self._stream.finish(b"")
        return None

    async def _fail(self, api: PublicApi, error: BaseException) -> None:
        fault = self._request_scope.fail(error)
        if isinstance(fault, CallerGone):
            return
        if self._stream is not None and self._stream.started:
            await self._stream.finish(api.error_event(fault))
            return
        response = api.error(fault)
        headers = {**error_headers(fault), **response.headers}
        await self._respond(api, RestResponse(response.status, response.body, headers))

    async def _refuse_method(self, api: PublicApi, methods: _Methods) -> None:
        allowed = ", ".join(sorted(methods))
        if self._scope["method"] == "OPTIONS":
            await self._respond(api, RestResponse(204, b"", {"allow": f"{allowed}, OPTIONS"}))
            return
        fault = YiwenError(f"this path takes {allowed} only", code=ErrorCode.METHOD_NOT_ALLOWED)
        response = api.error(self._request_scope.fail(fault))
        headers = {**error_headers(fault), **response.headers, "allow": allowed}
        await self._respond(api, RestResponse(response.status, response.body, headers))

    async def _respond(self, api: PublicApi, response: RestResponse) -> None:
        self._request_scope.answered(response.status)
        headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        headers.append((b"content-length", b"%d" % len(response.body)))
        extra = self._extra_headers(api)
        if response.status == RequestTimeout.code.http_status:
            extra.append(_CLOSE)
        body = b"" if self._scope["method"] == "HEAD" else response.body
        await self._send(
            {"type": "http.response.start", "status": response.status, "headers": [*headers, *extra]}
        )
        await self._send({"type": "http.response.body", "body": body})

    def _extra_headers(self, api: PublicApi) -> list[tuple[bytes, bytes]]:
        extra = [(_REQUEST_ID, self._request_scope.info.request_id.encode())]
        if self._app._serving.gate.draining:
            extra.append(_CLOSE)
        if api.open_to_pages and not self._app._settings.cors_origins:
            extra += [(name.encode(), value.encode()) for name, value in _CORS.items()]
        return extra


def _choose(candidates: _Candidates, request: ApiRequest) -> tuple[PublicApi, ApiRoute]:
    """The first API that claims the request, or the last one.

    Raises:
        InvalidRequest: the request's fields cannot be read.
    """
    for api, route in candidates[:-1]:
        if route.claims is None or route.claims(request):
            return api, route
    return candidates[-1]


def _operation(api: PublicApi, route: ApiRoute) -> Operation:
    return Operation("rest", api.name, route.path)


def _pattern(path: str) -> re.Pattern[str]:
    """A regular expression for a path with parts in braces."""
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)))
