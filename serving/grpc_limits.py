"""Time limits of gRPC: for a call's message to arrive, for a connection to open, idle and grow old."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from time import monotonic
from typing import Any, TypeVar

from grpc import (
    GenericRpcHandler,
    HandlerCallDetails,
    RpcMethodHandler,
    StatusCode,
    aio,
    stream_stream_rpc_method_handler,
    stream_unary_rpc_method_handler,
)

from protocol.errors import RequestTimeout
from serving.settings import ServerSettings
from serving.task_timeout import TaskTimeout

T = TypeVar("T")

MAX_AGE_S = 600
"""Seconds after which a connection takes no new calls, so that clients spread over replicas that were added."""
MAX_IDLE_S = 300
"""Seconds without calls after which a connection is closed."""
MAX_CALLS = 1024
"""Calls in progress on one connection."""
_PING_S = 60
"""Seconds without a byte after which the client is asked whether it is there; it has a third of that to answer."""

_received_at: ContextVar[float | None] = ContextVar("received_at", default=None)


def call_received_at() -> float | None:
    """When the headers of the current call arrived, seconds of ``time.monotonic``."""
    return _received_at.get()


def connection_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Options of the server that bound its connections."""
    return [
        ("grpc.server_handshake_timeout_ms", int(settings.head_timeout_s * 1000)),
        ("grpc.max_connection_idle_ms", MAX_IDLE_S * 1000),
        ("grpc.max_connection_age_ms", MAX_AGE_S * 1000),
        ("grpc.max_connection_age_grace_ms", settings.max_deadline_ms),
        ("grpc.max_concurrent_streams", MAX_CALLS),
        ("grpc.keepalive_time_ms", _PING_S * 1000),
        ("grpc.keepalive_timeout_ms", _PING_S * 1000 // 3),
        # Clients may ping as often, also between calls; by default they would be disconnected for it.
        ("grpc.http2.min_ping_interval_without_data_ms", _PING_S * 1000 // 6),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


class MessageTimeLimit:
    """Registers handlers so that calls end whose one request message does not arrive in time.

    gRPC calls a handler of one message once it has that message, and waits for it for ever. So such handlers are
    registered as handlers of a stream of messages, of which they read the first; on the wire both are the same.
    """

    def __init__(self, server: aio.Server, timeout_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s

    def add_generic_rpc_handlers(self, handlers: Sequence[GenericRpcHandler]) -> None:
        """As of the server, which generated code calls."""
        self._server.add_generic_rpc_handlers(
            tuple(_TimedHandlers(handler, self.limited) for handler in handlers)
        )

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, RpcMethodHandler]) -> None:
        """As of the server, where it does nothing: handlers are found by :meth:`add_generic_rpc_handlers`."""

    def limited(self, handler: RpcMethodHandler) -> RpcMethodHandler:
        """``handler`` with the time limit."""
        if handler.request_streaming:
            return handler
        behavior = handler.unary_stream if handler.response_streaming else handler.unary_unary
        create = (
            stream_stream_rpc_method_handler
            if handler.response_streaming
            else stream_unary_rpc_method_handler
        )
        return create(self._first_of(behavior), handler.request_deserializer, handler.response_serializer)

    def _first_of(
        self, behavior: Callable[[Any, aio.ServicerContext], Awaitable[T]]
    ) -> Callable[..., Awaitable[T]]:
        async def call(messages: AsyncIterator[Any], context: aio.ServicerContext) -> T:
            try:
                with TaskTimeout(self._timeout_s, lambda: RequestTimeout("")):
                    message = await anext(messages)
            except RequestTimeout:
                late = f"the request's message did not arrive within {self._timeout_s:g} s"
                await context.abort(StatusCode.DEADLINE_EXCEEDED, late)
            except StopAsyncIteration:
                await context.abort(StatusCode.INVALID_ARGUMENT, "the call has no message")
            return await behavior(message, context)

        return call


class _TimedHandlers(GenericRpcHandler):  # type: ignore[misc]  # gRPC is untyped here
    """Handlers of a service with a time limit, which note when a call arrives."""

    def __init__(
        self, handlers: GenericRpcHandler, limited: Callable[[RpcMethodHandler], RpcMethodHandler]
    ) -> None:
        self._handlers = handlers
        self._limited = limited
        self._by_method: dict[str, RpcMethodHandler] = {}

    def service(self, handler_call_details: HandlerCallDetails) -> RpcMethodHandler | None:
        """The handler of a call whose headers have just arrived; gRPC asks in the call's own task."""
        method = handler_call_details.method
        limited = self._by_method.get(method)
        if limited is None:
            handler = self._handlers.service(handler_call_details)
            if handler is None:
                return None
            limited = self._by_method[method] = self._limited(handler)
        _received_at.set(monotonic())
        return limited
