"""What slow and silent clients may do to the gRPC server, and the standard services on it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import grpc
import httpx
import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from protocol.codec import STREAM_METHOD, TEXT_SERVICE
from protocol.proto.yiwen.v1 import generation_pb2 as pb
from tests.serving.conftest import METHOD, MODEL, Server, grpc_ask, wait_until

TIMEOUT_S = 1.5
IN_FLIGHT = f'yiwen_requests_in_flight{{model="{MODEL}"}}'


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """A server with short limits."""
    limits = dict.fromkeys(("YIWEN_HEAD_TIMEOUT_S", "YIWEN_BODY_TIMEOUT_S", "YIWEN_WRITE_TIMEOUT_S"), "1.5")
    started = Server(**limits)
    try:
        yield started.wait_ready()
    finally:
        started.stop()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header without compression (RFC 7541, section 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def half_call(number: int) -> bytes:
    """The headers of a call, and the first bytes of its message."""
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", f"{METHOD}ModelInfer".encode()),
        (b":authority", b"a"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
    block = b"".join(literal(*header) for header in headers)
    return frame(1, 4, number, block) + frame(0, 0, number, b"\0\0\0\x10\0half")


async def test_a_connection_that_does_not_open_ends(strict: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", strict.grpc_port)
    writer.write(b"PRI * HTTP/2.0\r\n")
    began = time.monotonic()
    await asyncio.wait_for(reader.read(), TIMEOUT_S + 8)
    assert time.monotonic() - began < TIMEOUT_S + 5
    writer.close()


async def test_half_sent_messages_end(strict: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", strict.grpc_port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    calls = set(range(1, 81, 2))
    writer.write(b"".join(map(half_call, sorted(calls))))
    began = time.monotonic()
    while calls:  # each call ends with trailers or a reset of its stream
        length, kind, _, stream = await asyncio.wait_for(next_frame(reader), TIMEOUT_S + 10)
        await reader.readexactly(length)
        if kind in (1, 3):
            calls.discard(stream)
    assert TIMEOUT_S - 0.5 < time.monotonic() - began < TIMEOUT_S + 8
    writer.close()
    assert (await strict.infer(grpc_ask("x"))).model_name == MODEL


async def next_frame(reader: asyncio.StreamReader) -> tuple[int, int, int, int]:
    head = await reader.readexactly(9)
    return int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big")


async def test_a_stream_that_nobody_reads_ends(strict: Server) -> None:
    order = json.dumps({"events": 100_000, "pause_s": 0, "padding": 60_000})
    async with aio.insecure_channel(f"127.0.0.1:{strict.grpc_port}") as channel:
        method = channel.unary_stream(
            f"/{TEXT_SERVICE}/{STREAM_METHOD}",
            request_serializer=pb.TextStreamRequest.SerializeToString,
            response_deserializer=pb.TextStreamResponse.FromString,
        )
        began = time.monotonic()
        stream = method(pb.TextStreamRequest(model_name=MODEL, text_input=order))
        await stream.read()
        await asyncio.to_thread(wait_until, lambda: strict.metric(IN_FLIGHT) == 0, TIMEOUT_S + 15)
        assert strict.state()["cancelled_at"] > began
        stream.cancel()


async def test_a_compressed_bomb_is_refused(server: Server) -> None:
    message = grpc_ask("x")
    message.inputs[0].contents.bytes_contents[0] = bytes(64 * 2**20)
    error = await server.failure(message, compression=grpc.Compression.Gzip)
    assert error.code() is StatusCode.RESOURCE_EXHAUSTED


async def test_health_is_readiness(server: Server) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService", TEXT_SERVICE):
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() is StatusCode.NOT_FOUND
        watched = stub.Watch(health_pb2.HealthCheckRequest(service="other"))
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watched.cancel()


async def test_health_follows_the_model(strict: Server) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{strict.grpc_port}") as channel:
        watched = HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
        for healthy, status in ((False, "NOT_SERVING"), (True, "SERVING")):
            await asyncio.to_thread(httpx.get, f"{strict.url}/test/healthy/{str(healthy).lower()}")
            assert (await watched.read()).status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
        watched.cancel()


def test_reflection_lists_the_services(server: Server) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        names = ["inference.GRPCInferenceService", TEXT_SERVICE, "grpc.health.v1.Health"]
        assert set(names) < set(database.get_services())
        for name in names:
            assert name.rpartition(".")[2] in [
                service.name for service in database.FindFileContainingSymbol(name).service
            ]
