"""REST responses to errors, and the framework's exceptions as errors of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, ReleaseMismatch, YiwenError
from protocol.fast_dataclass import fast_dataclass
from serving.model import RequestInfo
from serving.requests import RequestScope, error_headers

if TYPE_CHECKING:
    from fastapi.exceptions import RequestValidationError

REQUEST_SCOPE = "yiwen_request_scope"
"""Key of the request's scope in its ASGI state."""


@fast_dataclass(frozen=True, slots=True)
class RestResponse:
    """A complete response."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def error_response(error: YiwenError) -> RestResponse:
    """The response of every REST endpoint to an error: words, code, and for a 409 the served release."""
    document = {"error": error.message, "code": error.code.value}
    if isinstance(error, ReleaseMismatch):
        document["release"] = error.serving
    headers = {"content-type": "application/json", **error_headers(error)}
    return RestResponse(error.status, orjson.dumps(document), headers)


def request_info_of(request: Request) -> RequestInfo:
    """The metadata of a POST to a route that a service adds."""
    request_scope: RequestScope = request.scope["state"][REQUEST_SCOPE]
    return request_scope.info


def fail_request(request: Request, error: YiwenError) -> RestResponse:
    """The response to an ``error`` that the framework found; the scope of a POST takes note of it."""
    request_scope: RequestScope | None = request.scope.get("state", {}).get(REQUEST_SCOPE)
    return error_response(error if request_scope is None else request_scope.fail(error))


async def http_error(request: Request, error: HTTPException) -> Response:
    """Errors of the framework (unknown path, wrong method) in the form of all errors."""
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = "no such path: GET /openapi.json lists what is served"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"this path takes {allowed} only"
    fault = YiwenError(detail, code=ErrorCode.of_status(error.status_code))
    response = fail_request(request, fault)
    headers = {**response.headers, **(error.headers or {})}
    return Response(response.body, error.status_code, headers=headers)


async def validation_error(request: Request, error: RequestValidationError) -> Response:
    """Validation errors of a typed route, without the values that the client sent."""
    faults = []
    for fault in error.errors():
        # The last part of the location of an extra field is a name that the client chose.
        place = fault["loc"][:-1] if fault["type"] == "extra_forbidden" else fault["loc"]
        faults.append(f"{'.'.join(map(str, place))}: {fault['msg']}")
    response = fail_request(request, InvalidRequest("; ".join(faults)))
    return Response(response.body, response.status, headers=dict(response.headers))
