"""The gRPC surface: the SDK's service definition with our error table, limits and cancellation.

Beside it, on the same port, stands the model's own service, if it streams (``protocol/proto``).

A failure becomes its status code and message; ``retry-after``, ``x-request-id`` and ``x-yiwen-release`` travel as
trailing metadata. A caller that leaves, or whose deadline passes, cancels the work (gRPC does that by itself).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import NoReturn, TypeVar

from grpc import StatusCode, aio, method_handlers_generic_handler, unary_stream_rpc_method_handler

from protocol.codec import STREAM_METHOD, decode_grpc_request, encode_grpc_response
from protocol.errors import CallerGone, DeadlineExceeded, YiwenError
from serving.endpoints import LOAD_REFUSED
from serving.health import TruthfulDataPlane
from serving.requests import Desk, Record, error_headers, new_call
from serving.sdk import InferenceServicer, add_GRPCInferenceServiceServicer_to_server, pb
from serving.settings import ServerSettings, SettingsError

T = TypeVar("T")

_REQUEST_ID = "x-request-id"


class Servicer(InferenceServicer):  # type: ignore[misc]  # the SDK is untyped
    """``inference.GRPCInferenceService`` over one model."""

    def __init__(self, dataplane: TruthfulDataPlane, desk: Desk) -> None:
        super().__init__(dataplane, None)
        self._dataplane = dataplane
        self._desk = desk

    async def ModelInfer(  # noqa: N802  # named by the service definition
        self, request: pb.ModelInferRequest, context: aio.ServicerContext
    ) -> pb.ModelInferResponse:
        """Inference."""
        return await self._answer(context, lambda record: self._infer(request, record))

    async def GenerateStream(self, message: bytes, context: aio.ServicerContext) -> None:  # noqa: N802
        """One request of the model's own service, answered message by message."""

        async def send(record: Record) -> None:
            self._desk.admit()
            # Writing, and not yielding: a call that is cancelled while a message goes out ends here, in order.
            async with aclosing(self._desk.model.stream_messages(message, record.call)) as answer:
                async for part in answer:
                    await context.write(part)

        await self._answer(context, send)

    async def _answer(self, context: aio.ServicerContext, work: Callable[[Record], Awaitable[T]]) -> T:
        """What ``work`` comes to; its failure ends the call."""
        headers = {name.lower(): value for name, value in context.invocation_metadata() or ()}
        call = new_call({name: value for name, value in headers.items() if isinstance(value, str)}, "grpc")
        context.set_trailing_metadata(((_REQUEST_ID, call.request_id),))
        with self._desk.request(call) as record:
            try:
                return await work(record)
            except asyncio.CancelledError as error:
                fault = record.fail(_why_cancelled(context, self._desk, error))
            # The outermost edge: whatever a model raises must become a status that says something.
            except Exception as error:  # noqa: BLE001
                fault = record.fail(error)
        trailing = (*error_headers(fault).items(), (_REQUEST_ID, call.request_id))
        return await _abort(context, fault, trailing)

    async def _infer(self, message: pb.ModelInferRequest, record: Record) -> pb.ModelInferResponse:
        self._desk.admit()
        model = self._dataplane.require(message.model_name, message.model_version)
        request = decode_grpc_request(message)
        response = await model.infer(request, record.call)
        return encode_grpc_response(response, request)

    async def ServerReady(  # noqa: N802
        self, request: pb.ServerReadyRequest, context: aio.ServicerContext
    ) -> pb.ServerReadyResponse:
        """Whether requests are taken."""
        return pb.ServerReadyResponse(ready=await self._dataplane.ready())

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, context: aio.ServicerContext
    ) -> pb.ModelReadyResponse:
        """Whether requests to that model are taken; NOT_FOUND for another."""
        ready = await _or_abort(context, lambda: self._dataplane.model_ready(request.name))
        return pb.ModelReadyResponse(ready=ready)

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: aio.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """Tables, platform and releases; NOT_FOUND for another model or version."""

        async def find() -> pb.ModelMetadataResponse:
            model = self._dataplane.require(request.name, request.version)
            return pb.ModelMetadataResponse(**model.model_metadata())

        return await _or_abort(context, find)

    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, context: aio.ServicerContext
    ) -> None:
        """Refused."""
        await context.abort(StatusCode.PERMISSION_DENIED, LOAD_REFUSED)

    async def RepositoryModelUnload(  # noqa: N802
        self, request: pb.RepositoryModelUnloadRequest, context: aio.ServicerContext
    ) -> None:
        """Refused."""
        await context.abort(StatusCode.PERMISSION_DENIED, LOAD_REFUSED)


def new_grpc_server(
    servicer: Servicer, settings: ServerSettings, stream_service: str | None = None
) -> aio.Server:
    """A server that is bound but not started.

    Args:
        servicer: what answers.
        settings: port and limits.
        stream_service: as :attr:`serving.model.ServedModel.stream_service`.

    Raises:
        SettingsError: the port is taken.
    """
    server = aio.server(
        options=(
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # otherwise a second process would silently share the port
        )
    )
    add_GRPCInferenceServiceServicer_to_server(servicer, server)
    if stream_service is not None:
        handler = unary_stream_rpc_method_handler(
            servicer.GenerateStream
        )  # bytes in, bytes out: the model has the codec
        server.add_generic_rpc_handlers(
            (method_handlers_generic_handler(stream_service, {STREAM_METHOD: handler}),)
        )
    host = "[::]" if settings.host == "0.0.0.0" else settings.host
    try:
        server.add_insecure_port(f"{host}:{settings.grpc_port}")
    except RuntimeError as error:
        message = f"gRPC cannot listen on port {settings.grpc_port}: set YIWEN_GRPC_PORT to a free one, or 0 for none"
        raise SettingsError(message) from error
    return server


def _why_cancelled(context: aio.ServicerContext, desk: Desk, error: asyncio.CancelledError) -> BaseException:
    """Who cancelled the work: our drain (which the desk knows), the caller's deadline, the caller, or a bug.

    The context itself learns of a cancellation only after the handler ended.
    """
    if desk.gate.cut:
        return error
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        return DeadlineExceeded("the caller's deadline passed")
    # Python 3.10 cannot tell a cancelled task from one whose work leaked somebody else's cancellation.
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
    await context.abort(StatusCode[fault.grpc_code], fault.message, trailing)
    raise fault  # abort has raised already
