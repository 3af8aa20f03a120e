"""The server's half of the KServe SDK, imported after :mod:`protocol.codec.sdk` has made that safe."""

from __future__ import annotations

from prometheus_client import REGISTRY

from protocol.codec.sdk import pb

from kserve import Model, ModelServer  # isort: skip  # after the guard above
from kserve.errors import ModelNotFound  # isort: skip
from kserve.model_server import app  # isort: skip
from kserve.protocol.dataplane import DataPlane  # isort: skip
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server  # isort: skip
from kserve.protocol.grpc.servicer import InferenceServicer  # isort: skip
from kserve.protocol.rest.server import RESTServer  # isort: skip
from kserve.metrics import EXPLAIN_HIST_TIME, POST_HIST_TIME, PRE_HIST_TIME, PREDICT_HIST_TIME  # isort: skip

# Requests do not take the SDK's path, so that its histograms would be empty for ever.
for _histogram in (EXPLAIN_HIST_TIME, POST_HIST_TIME, PRE_HIST_TIME, PREDICT_HIST_TIME):
    REGISTRY.unregister(_histogram)

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
