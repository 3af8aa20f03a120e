"""A model's own gRPC service over real sockets: order, failures, callers that leave or do not read, drain."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import StatusCode, aio

from protocol.codec import STREAM_METHOD, TEXT_SERVICE
from protocol.proto.yiwen.v1 import generation_pb2 as pb
from tests.serving.conftest import MODEL, Server, wait_until
from tests.serving.echo_server import RELEASE
from tests.serving.test_stream import order


@asynccontextmanager
async def started(server: Server, text: str, *, model: str = MODEL, **options: object) -> AsyncIterator[Any]:
    """A call under way."""
    async with aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        method = channel.unary_stream(
            f"/{TEXT_SERVICE}/{STREAM_METHOD}",
            request_serializer=pb.TextStreamRequest.SerializeToString,
            response_deserializer=pb.TextStreamResponse.FromString,
        )
        yield method(pb.TextStreamRequest(model_name=model, text_input=text), **options)


async def numbers(stream: AsyncIterable[Any]) -> list[int]:
    return [json.loads(message.text_output)["n"] async for message in stream]


async def failure(
    server: Server,
    text: str,
    *,
    metadata: tuple[tuple[str, str], ...] = (),
    timeout: float | None = None,
    model: str = MODEL,
) -> aio.AioRpcError:
    async with started(server, text, metadata=metadata, timeout=timeout, model=model) as stream:
        with pytest.raises(grpc.RpcError) as caught:
            await numbers(stream)
    error: aio.AioRpcError = caught.value
    return error


async def test_messages_arrive_one_by_one(server: Server) -> None:
    came = []
    text = json.dumps(order(3, pause_s=0.2))
    async with started(server, text, metadata=(("x-request-id", "grpc-stream-a"),)) as stream:
        async for _ in stream:
            came.append(time.monotonic())
        trailing = dict(await stream.trailing_metadata())
    assert len(came) == 3
    assert came[-1] - came[0] > 0.3
    assert trailing["x-request-id"] == "grpc-stream-a"
    assert server.log_of("grpc-stream-a")[-1]["surface"] == "grpc"


@pytest.mark.parametrize("events", [0, 2], ids=["at the door", "in the middle"])
@pytest.mark.parametrize(
    ("error", "code", "retry_after"),
    [
        ("InvalidRequest", StatusCode.INVALID_ARGUMENT, None),
        ("ReleaseMismatch", StatusCode.FAILED_PRECONDITION, None),
        ("Overloaded 1.2", StatusCode.RESOURCE_EXHAUSTED, "2"),
        ("DeadlineExceeded", StatusCode.DEADLINE_EXCEEDED, None),
    ],
)
async def test_a_failure_is_the_status_whenever_it_comes(
    server: Server, events: int, error: str, code: StatusCode, retry_after: str | None
) -> None:
    caught = await failure(server, json.dumps(order(events, error=error)))
    trailing = dict(caught.trailing_metadata())
    assert caught.code() is code
    assert trailing.get("retry-after") == retry_after
    assert trailing.get("x-yiwen-release") == (RELEASE if "Mismatch" in error else None)


async def test_an_unexpected_failure_says_nothing_of_itself(server: Server) -> None:
    caught = await failure(server, "secret", metadata=(("x-request-id", "grpc-stream-b"),))
    assert (caught.code(), caught.details()) == (
        StatusCode.INTERNAL,
        "internal error, request id grpc-stream-b",
    )


async def test_another_model_is_not_found(server: Server) -> None:
    assert (await failure(server, "", model="other")).code() is StatusCode.NOT_FOUND


async def test_a_long_message_is_resource_exhausted(server: Server) -> None:
    assert (await failure(server, "x" * 10_000_000)).code() is StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("pause_s", [30.0, 0.02], ids=["before the start", "in the middle"])
async def test_a_caller_that_cancels_frees_the_work(server: Server, pause_s: float) -> None:
    begun = server.state()["started"]
    request_id = f"grpc-left-{pause_s}"
    async with started(
        server, json.dumps(order(10_000, pause_s=pause_s)), metadata=(("x-request-id", request_id),)
    ) as stream:
        if pause_s < 1:
            await anext(aiter(stream))
        while server.state()["started"] == begun:
            await asyncio.sleep(0.01)
        cancelled = time.monotonic()
        stream.cancel()
        wait_until(lambda: server.state()["cancelled_at"] > cancelled - 0.001)
    assert server.state()["cancelled_at"] - cancelled < 0.5
    assert server.log_of(request_id)[-1]["status"] == 499


async def test_the_callers_deadline_ends_a_stream(server: Server) -> None:
    begun = time.monotonic()
    caught = await failure(
        server,
        json.dumps(order(10_000, pause_s=0.02)),
        timeout=0.2,
        metadata=(("x-request-id", "grpc-stream-late"),),
    )
    assert caught.code() is StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: server.state()["cancelled_at"] > begun)
    assert server.log_of("grpc-stream-late")[-1]["status"] == 504


async def test_a_caller_that_does_not_read_holds_the_stream_back(server: Server) -> None:
    begun = server.state()["started"]
    events = 2_000
    async with started(server, json.dumps({**order(events), "padding": 10_000})) as stream:
        await anext(aiter(stream))
        sent = settled(server)
        assert sent - begun < events / 2  # most of 20 MB were not even made
        assert len(await numbers(stream)) == events - 1


def settled(server: Server) -> float:
    """Events that were begun, once no more are."""
    while True:
        before = server.state()["started"]
        time.sleep(0.3)
        if server.state()["started"] == before:
            return before


async def test_a_stream_longer_than_the_drain_gets_an_error(start_server: Callable[..., Server]) -> None:
    server = start_server(YIWEN_DRAIN_S="0.3").wait_ready()
    async with started(server, json.dumps(order(10_000, pause_s=0.01))) as stream:
        await anext(aiter(stream))
        server.signal()
        with pytest.raises(grpc.RpcError) as caught:
            await numbers(stream)
    assert caught.value.code() is StatusCode.UNAVAILABLE
    assert dict(caught.value.trailing_metadata())["retry-after"] == "1"
    assert server.process.wait(10) == 0
