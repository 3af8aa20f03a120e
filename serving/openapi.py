"""The OpenAPI document of a service: the routes that it answers, in place of the SDK's list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi

from protocol.error_codes import ErrorCode
from protocol.errors import YiwenError
from serving.api_app import PublicApi
from serving.health import ModelDataPlane
from serving.model import ServedModel

_Document = dict[str, Any]

_ERRORS = {"4XX": "The request is refused.", "5XX": "The service could not answer."}
_TENSOR: _Document = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}},
    },
}
_SCHEMAS: _Document = {
    "Error": {
        "type": "object",
        "required": ["error", "code"],
        "properties": {"error": {"type": "string"}, "code": {"type": "string"}},
    },
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": _TENSOR},
            "outputs": {
                "type": "array",
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
            },
        },
    },
    "InferResponse": {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "id": {"type": "string"},
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": {"type": "array", "items": _TENSOR},
        },
    },
    "GenerateRequest": {
        "type": "object",
        "required": ["text_input"],
        "properties": {"text_input": {"type": "string"}, "parameters": {"type": "object"}},
    },
    "GenerateResponse": {
        "type": "object",
        "required": ["text_output", "model_name"],
        "properties": {
            "text_output": {"type": "string"},
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
        },
    },
}


def openapi_document(
    dataplane: ModelDataPlane,
    model: ServedModel,
    routers: Sequence[APIRouter],
    *,
    metrics: bool,
    apis: Sequence[PublicApi] = (),
) -> _Document:
    """The document of ``GET /openapi.json``.

    Args:
        dataplane: names the server and its version.
        model: the served one, in all paths.
        routers: routes that the service adds.
        metrics: whether ``/metrics`` is on the same port.
        apis: public APIs besides the v2 protocol.
    """
    server = dataplane.metadata()
    added = get_openapi(
        title=server["name"],
        version=server["version"],
        description=f"The Open Inference Protocol (v2) for {model.name}.",
        routes=[route for router in routers for route in router.routes],
    )
    paths = {
        "/v2": _get("Name, version and extensions of the server"),
        "/v2/health/live": _get("Liveness"),
        "/v2/health/ready": _get("Readiness; 503 while no requests are admitted"),
        "/v2/models": _get("Names of the models"),
        "/v1/models": _get("Names of the models, as in the v1 protocol"),
        f"/v1/models/{model.name}": _get("Readiness of the model, as in the v1 protocol"),
    }
    if metrics:
        paths["/metrics"] = _get("Metrics for Prometheus", "text/plain")
    for base in (f"/v2/models/{model.name}", *_version_paths(model)):
        paths |= _model_paths(base, model)
    paths |= api_paths(apis)
    schemas = {**_SCHEMAS, **added.get("components", {}).get("schemas", {})}
    return {**added, "paths": {**paths, **added["paths"]}, "components": {"schemas": schemas}}


def api_paths(apis: Sequence[PublicApi]) -> _Document:
    """The path items of public APIs; of two that share a path and method the statuses of all are listed.

    The statuses of errors are those that the API's own table gives the error codes.
    """
    paths: _Document = {}
    for api in apis:
        errors = _error_responses(api)
        for route in api.routes:
            methods = paths.setdefault(route.path, {})
            earlier = methods.get(route.method.lower(), {})
            operation: _Document = {"tags": [api.name], **route.operation}
            responses = {**earlier.get("responses", {}), **operation.get("responses", {}), **errors}
            operation["responses"] = dict(sorted(responses.items()))
            if names := re.findall(r"\{(\w+)\}", route.path):
                operation["parameters"] = [
                    {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                    for name in names
                ]
            methods[route.method.lower()] = operation
    return paths


def _error_responses(api: PublicApi) -> _Document:
    """Each status of the API's errors, with the codes that it stands for."""
    codes: dict[str, list[str]] = {}
    for code in ErrorCode:
        if code is not ErrorCode.CLIENT_CLOSED_REQUEST:
            codes.setdefault(str(api.error(YiwenError("", code=code)).status), []).append(code.value)
    return {status: {"description": f"Errors: {', '.join(names)}."} for status, names in codes.items()}


def _version_paths(model: ServedModel) -> list[str]:
    return [f"/v2/models/{model.name}/versions/{version}" for version in model.versions]


def _model_paths(base: str, model: ServedModel) -> _Document:
    generates, streams = (
        getattr(type(model), method) is not getattr(ServedModel, method) for method in ("generate", "stream")
    )
    request = "GenerateRequest" if generates else "InferRequest"
    paths = {
        base: _get("Tensors, platform and versions of the model"),
        f"{base}/ready": _get("Readiness of the model"),
        f"{base}/infer": _post("Inference", "InferRequest", _json("InferResponse")),
    }
    if generates:
        paths[f"{base}/generate"] = _post("One text", request, _json("GenerateResponse"))
    if streams:
        events = {"text/event-stream": {"schema": {"type": "string"}}}
        paths[f"{base}/generate_stream"] = _post("A stream of server-sent events", request, events)
    return paths


def _get(summary: str, media_type: str = "application/json") -> _Document:
    return {"get": {"summary": summary, "responses": _responses({media_type: {}})}}


def _post(summary: str, request: str, content: _Document) -> _Document:
    body = {"required": True, "content": _json(request)}
    return {"post": {"summary": summary, "requestBody": body, "responses": _responses(content)}}


def _responses(content: _Document) -> _Document:
    errors = {
        status: {"description": description, "content": _json("Error")}
        for status, description in _ERRORS.items()
    }
    return {"200": {"description": "The answer.", "content": content}, **errors}


def _json(schema: str) -> _Document:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
