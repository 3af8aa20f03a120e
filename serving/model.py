"""What a service gives to the server: a KServe model with one asynchronous ``infer`` and a truthful health.

A service of one text or stream gives it ``generate``, ``stream`` and ``stream_messages`` as well.

Decoding, errors, logs, cancellation and draining are the server's; tensors and their meaning are the service's.
"""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from protocol.codec.sdk import InferRequest, InferResponse
from protocol.errors import InvalidRequest, NotFound
from protocol.tensors import TensorSpec
from serving.sdk import Model


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of one request besides its tensors."""

    request_id: str
    """The caller's ``x-request-id`` or a fresh one; echoed in the answer."""
    headers: Mapping[str, str]
    """HTTP headers or gRPC metadata, names in lower case."""
    surface: str
    """``rest`` or ``grpc``."""
    notes: dict[str, object] = field(default_factory=dict)
    """Facts a service adds for the request's log line: counts and ids, never text."""


@dataclass(frozen=True, slots=True)
class NamedEvent:
    """An event of a stream beside its answer."""

    name: str
    """Its kind; ``message`` and ``error`` are taken."""
    document: Mapping[str, object]


class ServedModel(Model):  # type: ignore[misc]  # the SDK is untyped
    """A model that is loaded when it is made. :meth:`open` and :meth:`close` frame its time on the event loop."""

    stream_service: ClassVar[str | None] = None
    """Full name of the gRPC service whose :data:`protocol.codec.STREAM_METHOD` is :meth:`stream_messages`;
    None if there is none."""

    def __init__(
        self,
        name: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        platform: str,
        *,
        versions: Sequence[str] = (),
    ) -> None:
        super().__init__(name)
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.platform = platform
        """What runs the model, for its metadata: e.g. ``yiwen_onnxruntime``."""
        self.versions = tuple(versions)
        """Ids of the releases served, for its metadata; at most one."""
        self.ready = True  # the SDK registers a model only if it is ready before the server starts

    @abstractmethod
    async def infer(self, request: InferRequest, call: Call) -> InferResponse:
        """Answer one request.

        Being cancelled means that the caller is gone: free the work.

        Raises:
            YiwenError: the expected failure that both surfaces send.
        """

    async def generate(self, body: bytes, call: Call) -> Mapping[str, object]:
        """Answer one request of the protocol's generate extension with a JSON document.

        The body is the model's own to decode. Being cancelled means what it does in :meth:`infer`.

        Raises:
            YiwenError: as :meth:`infer`.
        """
        raise NotFound(f"{self.name} does not answer /generate: POST to /v2/models/{self.name}/infer")

    def stream(self, body: bytes, call: Call) -> AsyncGenerator[Mapping[str, object] | NamedEvent, None]:
        """Answer one request piece by piece: each item becomes one server-sent event.

        The body is the model's own to decode. Closing the iterator, or being cancelled in it, means that the caller
        is gone: free the work.

        Raises:
            YiwenError: as :meth:`infer`; before the first item it becomes the answer's status, later an event.
        """
        raise NotFound(f"{self.name} does not stream: POST to /v2/models/{self.name}/infer")

    def stream_messages(self, message: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        """As :meth:`stream`, over gRPC: a request of :attr:`stream_service`, and each message of its answer.

        Raises:
            YiwenError: as :meth:`infer`; NotFound if :meth:`check_address` says so of the request's address.
        """
        raise NotFound(f"{self.name} does not stream: call ModelInfer")

    def check_address(self, name: str, version: str | None = None) -> None:
        """Raise NotFound unless this model is called ``name`` and serves ``version``, where one is given."""
        if name != self.name:
            raise NotFound(f"no such model: this server serves {self.name}")
        if version and version not in self.versions:
            raise NotFound(f"no such version of {self.name}: leave the version away to get the one served")

    @abstractmethod
    def is_healthy(self) -> bool:
        """Whether requests can be answered now; decides readiness, so it must be cheap."""

    async def open(self) -> None:
        """Start what needs the event loop; runs before the first request."""
        return

    async def close(self) -> None:
        """Stop what :meth:`open` started; runs after the last request."""
        return

    async def healthy(self) -> bool:
        """The SDK's name for :meth:`is_healthy`."""
        return self.is_healthy()

    def load(self) -> bool:
        """Report health. The SDK calls this on the event loop for each request to an unhealthy model."""
        return self.is_healthy()

    def start(self) -> None:
        """Nothing: the model was ready when it was made."""

    def get_input_types(self) -> list[dict[str, object]]:
        """Input table for the v2 metadata."""
        return [spec.describe() for spec in self.inputs]

    def get_output_types(self) -> list[dict[str, object]]:
        """Output table for the v2 metadata."""
        return [spec.describe() for spec in self.outputs]

    async def __call__(
        self, body: object, headers: Mapping[str, str] | None = None, verb: object = None
    ) -> tuple[InferResponse, dict[str, str]]:
        """The SDK's way in, for callers that hold the model as a plain KServe model."""
        if not isinstance(body, InferRequest):
            raise InvalidRequest("this model takes v2 inference requests only")
        known = dict(headers or {})
        call = Call(known.get("x-request-id") or uuid.uuid4().hex, known, "rest")
        return await self.infer(body, call), {}

    def model_metadata(self) -> dict[str, Any]:
        """The document of ``GET /v2/models/{model}``."""
        return {
            "name": self.name,
            "versions": list(self.versions),
            "platform": self.platform,
            "inputs": self.get_input_types(),
            "outputs": self.get_output_types(),
        }
