"""One truth about readiness and metadata for both surfaces, in the place where the SDK looks for it."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from serving.model import ServedModel
from serving.requests import Desk
from serving.sdk import DataPlane, ModelServer

SERVER_NAME = "yiwen"
EXTENSIONS = ("binary_tensor_data",)


class TruthfulDataPlane(DataPlane):  # type: ignore[misc]  # the SDK is untyped
    """The SDK's data plane, asked by its gRPC servicer and its v1 routes; it says ready only when that is so."""

    def __init__(self, server: ModelServer, desk: Desk) -> None:
        super().__init__(server.registered_models)
        self._desk = desk

    async def ready(self) -> bool:
        """Whether requests are taken."""
        return self._desk.is_ready

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """As :meth:`ready`; raises NotFound for another model."""
        self.require(model_name)
        return self._desk.is_ready

    def metadata(self) -> dict[str, Any]:
        """The document of ``GET /v2``."""
        return {"name": SERVER_NAME, "version": _version(), "extensions": list(EXTENSIONS)}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """The document of ``GET /v2/models/{model}``; raises NotFound for another model."""
        return self.require(model_name).model_metadata()

    def require(self, model_name: str, version: str | None = None) -> ServedModel:
        """The model, if that is its name and ``version``, where given, is one it serves.

        Raises:
            NotFound: it is not.
        """
        model = self._desk.model
        model.check_address(model_name, version)
        return model


def _version() -> str:
    try:
        return metadata.version("yiwen")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from a checkout that is not installed
