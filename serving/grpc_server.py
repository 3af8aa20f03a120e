"""The gRPC server: the SDK's service definition with our error table, limits and cancellation.

A model that streams has a second service on the same port (``protocol/proto``).

An error becomes a status code and message; ``x-yiwen-error-code``, ``retry-after``, ``x-request-id`` and
``x-yiwen-release`` are trailing metadata. gRPC cancels a handler whose client cancels or whose deadline passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import NoReturn, TypeVar

from grpc import StatusCode, aio, method_handlers_generic_handler, unary_stream_rpc_method_handler
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION_SERVICE
from grpc_reflection.v1alpha.reflection import enable_server_reflection

from protocol.codec import STREAM_METHOD, decode_grpc_request, encode_grpc_response
from protocol.errors import CallerGone, DeadlineExceeded, Forbidden, YiwenError
from serving.endpoints import LOAD_REFUSED
from serving.grpc_health import Health
from serving.grpc_limits import MessageTimeLimit, call_received_at, connection_options
from serving.health import ModelDataPlane
from serving.metrics import Operation
from serving.requests import RequestScope, ServingContext, error_headers, new_request_info
from serving.sdk import InferenceServicer, add_GRPCInferenceServiceServicer_to_server, pb
from serving.settings import ServerSettings, SettingsError
from serving.task_timeout import TaskTimeout

T = TypeVar("T")

INFERENCE_SERVICE = "inference.GRPCInferenceService"
_REQUEST_ID = "x-request-id"
_TRANSIT_S = 0.1
"""How long a request may have travelled: the caller's clock, which started that much earlier, ends a call first."""
_INFER, _STREAM = Operation("grpc", endpoint="infer"), Operation("grpc", endpoint="generate_stream")


class Servicer(InferenceServicer):  # type: ignore[misc]  # the SDK is untyped
    """``inference.GRPCInferenceService`` over one model."""

    def __init__(self, dataplane: ModelDataPlane, serving: ServingContext, settings: ServerSettings) -> None:
        super().__init__(dataplane, None)
        self._dataplane = dataplane
        self.serving = serving
        """Shared with REST."""
        self._write_timeout_s = settings.write_timeout_s
        for operation in (_INFER, _STREAM) if settings.grpc_port else ():
            serving.metrics.expect(operation)

    async def ModelInfer(  # noqa: N802  # named by the service definition
        self, request: pb.ModelInferRequest, context: aio.ServicerContext
    ) -> pb.ModelInferResponse:
        """Inference."""
        return await self._answer(context, _INFER, lambda request_scope: self._infer(request, request_scope))

    async def GenerateStream(self, message: bytes, context: aio.ServicerContext) -> None:  # noqa: N802
        """One streaming request of the model's own service."""

        async def send(request_scope: RequestScope) -> None:
            self.serving.admit()
            # Written, not yielded: a call that is cancelled while a message is sent ends in this coroutine.
            async with aclosing(self.serving.model.stream_messages(message, request_scope.info)) as answer:
                async for part in answer:
                    with TaskTimeout(self._write_timeout_s, _caller_does_not_read):
                        await context.write(part)

        await self._answer(context, _STREAM, send)

    async def _answer(
        self,
        context: aio.ServicerContext,
        operation: Operation,
        work: Callable[[RequestScope], Awaitable[T]],
    ) -> T:
        """Result of a request's work within its scope; an error aborts the call.

        Args:
            context: of the call.
            operation: for the metrics.
            work: what answers it.
        """
        headers = {name.lower(): value for name, value in context.invocation_metadata() or ()}
        info = new_request_info(
            {name: value for name, value in headers.items() if isinstance(value, str)},
            "grpc",
            call_received_at(),
        )
        context.set_trailing_metadata(((_REQUEST_ID, info.request_id),))
        with self.serving.request(info, operation) as request_scope:
            try:
                return await work(request_scope)
            except asyncio.CancelledError as error:
                fault = request_scope.fail(_why_cancelled(context, self.serving, error))
            # The outermost handler: whatever a model raises must become a status with a message.
            except Exception as error:  # noqa: BLE001
                fault = request_scope.fail(error)
        return await _abort(context, fault, ((_REQUEST_ID, info.request_id),))

    async def _infer(
        self, message: pb.ModelInferRequest, request_scope: RequestScope
    ) -> pb.ModelInferResponse:
        self.serving.admit()
        model = self._dataplane.require(message.model_name, message.model_version)
        request = decode_grpc_request(message)
        response = await model.infer(request, request_scope.info)
        return encode_grpc_response(response, request)

    async def ServerReady(  # noqa: N802
        self, request: pb.ServerReadyRequest, context: aio.ServicerContext
    ) -> pb.ServerReadyResponse:
        """Whether requests are admitted."""
        return pb.ServerReadyResponse(ready=await self._dataplane.ready())

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, context: aio.ServicerContext
    ) -> pb.ModelReadyResponse:
        """Whether requests to a model are admitted; NOT_FOUND for an unknown model."""
        ready = await _or_abort(context, lambda: self._dataplane.model_ready(request.name))
        return pb.ModelReadyResponse(ready=ready)

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: aio.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """Metadata of a model; NOT_FOUND for an unknown model or version."""

        async def find() -> pb.ModelMetadataResponse:
            model = self._dataplane.require(request.name, request.version)
            return pb.ModelMetadataResponse(**model.model_metadata())

        return await _or_abort(context, find)

    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, context: aio.ServicerContext
    ) -> None:
        """PERMISSION_DENIED: models are not loaded or unloaded by request."""
        await _abort(context, Forbidden(LOAD_REFUSED))

    async def RepositoryModelUnload(  # noqa: N802
        self, request: pb.RepositoryModelUnloadRequest, context: aio.ServicerContext
    ) -> None:
        """PERMISSION_DENIED: models are not loaded or unloaded by request."""
        await _abort(context, Forbidden(LOAD_REFUSED))


def new_grpc_server(
    servicer: Servicer, settings: ServerSettings, stream_service: str | None = None
) -> aio.Server:
    """A server that is bound but not started.

    Args:
        servicer: handles the requests.
        settings: port and limits.
        stream_service: :attr:`serving.model.ServedModel.stream_service`.

    Raises:
        SettingsError: the port is taken.
    """
    server = aio.server(
        options=(
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else a second process would silently share the port
            *connection_options(settings),
        ),
    )
    services = [INFERENCE_SERVICE, *([] if stream_service is None else [stream_service])]
    limited = MessageTimeLimit(server, settings.body_timeout_s)
    add_GRPCInferenceServiceServicer_to_server(servicer, limited)
    add_HealthServicer_to_server(Health(servicer.serving, services), limited)
    enable_server_reflection([*services, HEALTH_SERVICE, REFLECTION_SERVICE], limited)
    if stream_service is not None:
        handler = unary_stream_rpc_method_handler(
            servicer.GenerateStream
        )  # bytes in, bytes out: the model has the codec
        limited.add_generic_rpc_handlers(
            (method_handlers_generic_handler(stream_service, {STREAM_METHOD: handler}),)
        )
    host = "[::]" if settings.host == "0.0.0.0" else settings.host
    try:
        server.add_insecure_port(f"{host}:{settings.grpc_port}")
    except RuntimeError as error:
        message = f"gRPC cannot listen on port {settings.grpc_port}: set YIWEN_GRPC_PORT to a free one, or 0 for none"
        raise SettingsError(message) from error
    return server


def _caller_does_not_read() -> CallerGone:
    return CallerGone("the caller does not read the stream")


def _why_cancelled(
    context: aio.ServicerContext, serving: ServingContext, error: asyncio.CancelledError
) -> BaseException:
    """The reason of a cancellation: our drain, the client's deadline, the client, or a bug.

    The gRPC context reports a cancellation only after the handler has ended.
    """
    if serving.gate.has_cancelled(asyncio.current_task()):
        return error
    remaining = context.time_remaining()
    if remaining is not None and remaining <= _TRANSIT_S:
        return DeadlineExceeded("the caller's deadline passed")
    # Python 3.10 cannot tell a cancelled task from a CancelledError that leaked out of the model's code.
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    if cancelling is None or cancelling():
        return CallerGone("the caller cancelled the call")
    return error


async def _or_abort(context: aio.ServicerContext, work: Callable[[], Awaitable[T]]) -> T:
    try:
        return await work()
    except YiwenError as error:
        fault = error
    return await _abort(context, fault)


async def _abort(
    context: aio.ServicerContext, fault: YiwenError, trailing: tuple[tuple[str, str], ...] = ()
) -> NoReturn:
    """End the call with the status, message and code of ``fault``."""
    metadata = (*error_headers(fault).items(), *trailing)
    await context.abort(StatusCode[fault.code.grpc_status], fault.message, metadata)
    raise fault  # abort has raised already
