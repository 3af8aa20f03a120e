"""Readiness and metadata of the server, for REST and gRPC, as the SDK's data plane."""

from __future__ import annotations

from typing import Any

from protocol.version import package_version
from serving.model import ServedModel
from serving.requests import ServingContext
from serving.sdk import DataPlane, ModelServer

SERVER_NAME = "yiwen"
EXTENSIONS = ("binary_tensor_data",)


class ModelDataPlane(DataPlane):  # type: ignore[misc]  # the SDK is untyped
    """The SDK's data plane with readiness that follows the model's health and the drain."""

    def __init__(self, server: ModelServer, serving: ServingContext) -> None:
        super().__init__(server.registered_models)
        self._serving = serving

    async def ready(self) -> bool:
        """Whether traffic may come."""
        return self._serving.is_ready

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """As :meth:`ready`; raises NotFound for another model."""
        self.require(model_name)
        return self._serving.is_ready

    def metadata(self) -> dict[str, Any]:
        """The document of ``GET /v2``."""
        return {"name": SERVER_NAME, "version": package_version(), "extensions": list(EXTENSIONS)}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """The document of ``GET /v2/models/{model}``; raises NotFound for another model."""
        return self.require(model_name).model_metadata()

    def require(self, model_name: str, version: str | None = None) -> ServedModel:
        """The served model.

        Raises:
            NotFound: it has another name, or does not serve ``version``.
        """
        model = self._serving.model
        model.check_address(model_name, version)
        return model
