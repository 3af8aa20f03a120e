"""Time limits of gRPC: for a call's message to arrive, for a connection to open, idle and grow old."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from time import monotonic
from typing import Any, TypeVar

from grpc import (
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


class MessageTimeLimit(aio.ServerInterceptor):  # type: ignore[misc]  # gRPC is untyped here
    """Ends calls whose one request message does not arrive in time.

    gRPC calls a handler of one message once it has that message, and waits for it for ever. So such handlers are
    registered as handlers of a stream of messages, of which they read the first; on the wire both are the same.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    async def intercept_service(
        self,
        continuation: Callable[[HandlerCallDetails], Awaitable[RpcMethodHandler | None]],
        handler_call_details: HandlerCallDetails,
    ) -> RpcMethodHandler | None:
        """The handler of a call that has just arrived."""
        _received_at.set(monotonic())
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
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
                with TaskTimeout(self._timeout_s, RequestTimeout, ""):
                    message = await anext(messages)
            except RequestTimeout:
                late = f"the request's message did not arrive within {self._timeout_s:g} s"
                await context.abort(StatusCode.DEADLINE_EXCEEDED, late)
            except StopAsyncIteration:
                await context.abort(StatusCode.INVALID_ARGUMENT, "the call has no message")
            return await behavior(message, context)

        return call
