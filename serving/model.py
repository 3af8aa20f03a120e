"""The interface between a service and the server: a KServe model with an asynchronous ``infer`` and its health.

A service that also generates one text or streams implements ``generate``, ``stream`` and ``stream_messages``.

The server decodes, maps errors, logs, cancels and drains; the service knows the tensors and their meaning.
"""

from __future__ import annotations

import time
import uuid
from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from protocol.codec.sdk import InferRequest, InferResponse
from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, NotFound
from protocol.fast_dataclass import fast_dataclass
from protocol.tensors import TensorSpec
from serving.sdk import Model


@fast_dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request's metadata: all that a service is given besides the body."""

    request_id: str
    """The client's ``x-request-id``, or a new one; sent back in the response."""
    headers: Mapping[str, str]
    """HTTP headers or gRPC metadata, names in lower case."""
    surface: str
    """``rest`` or ``grpc``."""
    log_fields: dict[str, object] = field(default_factory=dict)
    """Fields that the service adds to the request's log line: counts and ids, never text."""
    received_at: float = field(default_factory=time.monotonic)
    """When its first byte arrived, seconds of ``time.monotonic``; deadlines count from here."""


@dataclass(frozen=True, slots=True)
class NamedEvent:
    """A server-sent event that is not part of the answer, such as a notice."""

    name: str
    """The event's type; ``message`` and ``error`` are reserved."""
    document: Mapping[str, object]


class ServedModel(Model):  # type: ignore[misc]  # the SDK is untyped
    """Base of a service's model, which is loaded when constructed.

    :meth:`open` runs before the first request, :meth:`close` after the last one.
    """

    component: ClassVar[str] = "model"
    """KServe's name for the part of an InferenceService that it is: ``predictor`` or ``transformer``."""

    stream_service: ClassVar[str | None] = None
    """Full name of the gRPC service whose method :data:`protocol.codec.STREAM_METHOD` is :meth:`stream_messages`;
    None if the model has none."""

    error_codes: ClassVar[Sequence[ErrorCode]] = tuple(ErrorCode)
    """Codes of the errors that the service may answer with; each has a counter from the start."""

    def __init__(
        self,
        name: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        platform: str,
        *,
        versions: Sequence[str] = (),
    ) -> None:
        """Describe the model.

        Args:
            name: in the URLs.
            inputs: table of its input tensors.
            outputs: table of its output tensors.
            platform: what runs it, for its metadata, e.g. ``yiwen_onnxruntime``.
            versions: ids of the served releases, for its metadata; at most one.
        """
        super().__init__(name)
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.platform = platform
        self.versions = tuple(versions)
        self.ready = True  # the SDK registers a model only if it is ready before the server starts

    @abstractmethod
    async def infer(self, request: InferRequest, info: RequestInfo) -> InferResponse:
        """Handle one inference request.

        It is cancelled when the client disconnects or its deadline passes.

        Raises:
            YiwenError: an expected error, sent as its HTTP or gRPC status.
        """

    async def generate(self, body: bytes, info: RequestInfo) -> Mapping[str, object]:
        """Handle one request of the protocol's generate extension; returns a JSON document.

        The model decodes the body. Cancellation is as in :meth:`infer`.

        Raises:
            YiwenError: as :meth:`infer`.
        """
        raise NotFound(
            f"{self.name} does not answer /generate: POST to /v2/models/{self.name}/infer",
            code=ErrorCode.PATH_NOT_FOUND,
        )

    def stream(
        self, body: bytes, info: RequestInfo
    ) -> AsyncGenerator[Mapping[str, object] | NamedEvent, None]:
        """Handle one streaming request: each item becomes one server-sent event.

        The model decodes the body. The generator is cancelled or closed when the client disconnects.

        Raises:
            YiwenError: as :meth:`infer`; before the first item it becomes the response's status, later an event.
        """
        raise NotFound(
            f"{self.name} does not stream: POST to /v2/models/{self.name}/infer",
            code=ErrorCode.PATH_NOT_FOUND,
        )

    def stream_messages(self, message: bytes, info: RequestInfo) -> AsyncGenerator[bytes, None]:
        """Handle one streaming request over gRPC: a message of :attr:`stream_service` in, messages out.

        Raises:
            YiwenError: as :meth:`infer`; NotFound where :meth:`check_address` raises it.
        """
        raise NotFound(f"{self.name} does not stream: call ModelInfer", code=ErrorCode.PATH_NOT_FOUND)

    def check_address(self, name: str, version: str | None = None) -> None:
        """Raise NotFound unless this model is called ``name`` and serves ``version``, where one is given."""
        if name != self.name:
            raise NotFound(f"no such model: this server serves {self.name}")
        if version and version not in self.versions:
            raise NotFound(f"no such version of {self.name}: leave the version away to get the one served")

    @abstractmethod
    def is_healthy(self) -> bool:
        """Whether requests can be answered now. Every readiness probe asks, so it must be cheap."""

    def is_ready(self) -> bool:
        """Whether readiness probes succeed, so that traffic comes; as :meth:`is_healthy` unless a service says more.

        A request that comes before is handled all the same.
        """
        return self.is_healthy()

    async def open(self) -> None:
        """Start what needs the event loop; called before the first request."""
        return

    async def close(self) -> None:
        """Stop what :meth:`open` started; called after the last request."""
        return

    async def healthy(self) -> bool:
        """The SDK's name for :meth:`is_healthy`."""
        return self.is_healthy()

    def load(self) -> bool:
        """Return the health. The SDK calls this on the event loop for each request to an unhealthy model."""
        return self.is_healthy()

    def start(self) -> None:
        """Do nothing: the model is ready once constructed."""

    def get_input_types(self) -> list[dict[str, object]]:
        """Input table for the v2 metadata."""
        return [spec.describe() for spec in self.inputs]

    def get_output_types(self) -> list[dict[str, object]]:
        """Output table for the v2 metadata."""
        return [spec.describe() for spec in self.outputs]

    async def __call__(
        self, body: object, headers: Mapping[str, str] | None = None, verb: object = None
    ) -> tuple[InferResponse, dict[str, str]]:
        """The SDK's entry point, for code that uses the model as a plain KServe model."""
        if not isinstance(body, InferRequest):
            raise InvalidRequest("this model takes v2 inference requests only")
        known = dict(headers or {})
        info = RequestInfo(known.get("x-request-id") or uuid.uuid4().hex, known, "rest")
        return await self.infer(body, info), {}

    def model_metadata(self) -> dict[str, Any]:
        """The document of ``GET /v2/models/{model}``."""
        return {
            "name": self.name,
            "versions": list(self.versions),
            "platform": self.platform,
            "inputs": self.get_input_types(),
            "outputs": self.get_output_types(),
        }
