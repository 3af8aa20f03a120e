"""The v1 and v2 REST routes other than inference: probes, metadata, and refusals of what is not served.

They are registered before the SDK's routes and take their place. The SDK's ``/v2/health/ready`` is always true, its
``unload`` lets any client unload the model, and its ``:predict`` accepts requests that this server cannot answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from protocol.error_codes import ErrorCode
from protocol.errors import Forbidden, NotFound, NotReady
from serving.drain import RETRY_AFTER_S
from serving.health import ModelDataPlane

if TYPE_CHECKING:
    pass

LOAD_REFUSED = (
    "models are not loaded or unloaded by request: "
    "roll a release out as a new revision of the InferenceService"
)


def json_response(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with a JSON body.

    Args:
        document: what orjson can serialize.
        status: of HTTP.
        headers: besides Content-Type.
    """
    return Response(
        orjson.dumps(document), status, headers=dict(headers or {}), media_type="application/json"
    )


class Endpoints:
    """Route handlers over one data plane."""

    def __init__(self, dataplane: ModelDataPlane) -> None:
        self._dataplane = dataplane

    def routes(self) -> list[BaseRoute]:
        """All routes; the first match wins."""
        model = "/v2/models/{model}"
        version = model + "/versions/{version}"
        return [
            Route("/", self.alive),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route(model + "/ready", self.model_ready),
            Route(model, self.model_metadata),
            *(
                Route(f"{path}/{method}", self.other_model, methods=["POST"])
                for path in (model, version)
                for method in ("infer", "generate", "generate_stream")
            ),
            Route(version + "/ready", self.model_ready),
            Route(version, self.model_metadata),
            Route("/v2/models", self.models),
            Route("/v2", self.metadata),
            Route("/v2/repository/{rest:path}", self.repository, methods=["GET", "POST"]),
            Route("/v1/models", self.models),
            Route("/v1/models/{model}", self.model_ready),
            Route("/v1/{rest:path}", self.v1, methods=["POST"]),
        ]

    async def alive(self, request: Request) -> Response:
        """Liveness in the SDK's v1 form."""
        return json_response({"status": "alive"})

    async def live(self, request: Request) -> Response:
        """Liveness: 200 while the process responds."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """Readiness: 200 while requests are admitted, else 503."""
        if not await self._dataplane.ready():
            raise NotReady("the server is not ready", retry_after_s=RETRY_AFTER_S)
        return json_response({"ready": True})

    async def model_ready(self, request: Request) -> Response:
        """Readiness of one model; 404 for an unknown model."""
        model = self._dataplane.require(request.path_params["model"], request.path_params.get("version"))
        if not await self._dataplane.model_ready(model.name):
            raise NotReady(f"{model.name} is not ready", retry_after_s=RETRY_AFTER_S)
        return json_response({"name": model.name, "ready": True})

    async def models(self, request: Request) -> Response:
        """Names of the served models; there is one."""
        return json_response({"models": list(self._dataplane.model_registry.get_models())})

    async def model_metadata(self, request: Request) -> Response:
        """Metadata of a model: tensors, platform and versions."""
        model = self._dataplane.require(request.path_params["model"], request.path_params.get("version"))
        return json_response(model.model_metadata())

    async def metadata(self, request: Request) -> Response:
        """Server metadata: name, version and extensions."""
        return json_response(self._dataplane.metadata())

    async def other_model(self, request: Request) -> Response:
        """404 for inference on an unknown model or version; :mod:`serving.rest` handles the served one."""
        self._dataplane.require(request.path_params["model"], request.path_params.get("version"))
        raise NotFound(
            "inference is at /v2/models/{model}/infer, without anything in front",
            code=ErrorCode.PATH_NOT_FOUND,
        )

    async def repository(self, request: Request) -> Response:
        """403 for loading and unloading models."""
        raise Forbidden(LOAD_REFUSED)

    async def v1(self, request: Request) -> Response:
        """404 for v1 inference, which has no typed tensors; the message names the v2 path."""
        (name,) = self._dataplane.model_registry.get_models()
        raise NotFound(
            f"the v1 protocol is not served: POST to /v2/models/{name}/infer", code=ErrorCode.PATH_NOT_FOUND
        )


async def not_found(request: Request) -> Response:
    """404, as for a path that nobody knows."""
    raise HTTPException(404)
