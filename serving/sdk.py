"""The server's half of the KServe SDK, imported after :mod:`protocol.codec.sdk` has made that safe."""

from __future__ import annotations

from protocol.codec.sdk import pb

from kserve import Model, ModelServer  # isort: skip  # after the guard above
from kserve.errors import ModelNotFound  # isort: skip
from kserve.model_server import app  # isort: skip
from kserve.protocol.dataplane import DataPlane  # isort: skip
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server  # isort: skip
from kserve.protocol.grpc.servicer import InferenceServicer  # isort: skip
from kserve.protocol.rest.server import RESTServer  # isort: skip

__all__ = [
    "DataPlane",
    "InferenceServicer",
    "Model",
    "ModelNotFound",
    "ModelServer",
    "RESTServer",
    "add_GRPCInferenceServiceServicer_to_server",
    "app",
    "pb",
]
