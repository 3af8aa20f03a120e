from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, MutableSequence
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from protocol.codec.sdk import pb
from protocol.error_codes import ErrorCode
from tests.serving.conftest import MODEL, Server, grpc_ask, wait_until
from tests.serving.echo_server import RELEASE


@pytest.mark.parametrize("raw", [False, True])
async def test_answers_raw_with_raw_and_typed_with_typed(server: Server, raw: bool) -> None:
    answer = await server.infer(grpc_ask("one", "𝄞 \0", raw=raw))
    assert bool(answer.raw_output_contents) == raw
    assert answer.parameters["release"].string_param == RELEASE
    if not raw:
        assert list(answer.outputs[0].contents.bytes_contents) == [b"one", "𝄞 \0".encode()]


async def test_returns_only_the_outputs_asked_for(server: Server) -> None:
    request = grpc_ask("x")
    request.outputs.add(name="cache")
    assert [output.name for output in (await server.infer(request)).outputs] == ["cache"]


@pytest.mark.parametrize(
    ("order", "code", "retry_after"),
    [
        ("InvalidRequest", StatusCode.INVALID_ARGUMENT, None),
        ("NotFound", StatusCode.NOT_FOUND, None),
        ("ReleaseMismatch", StatusCode.FAILED_PRECONDITION, None),
        ("TooLong", StatusCode.RESOURCE_EXHAUSTED, None),
        ("Overloaded 1.2", StatusCode.RESOURCE_EXHAUSTED, "2"),
        ("InternalFault", StatusCode.INTERNAL, None),
        ("NotReady 3", StatusCode.UNAVAILABLE, "3"),
        ("DeadlineExceeded", StatusCode.DEADLINE_EXCEEDED, None),
    ],
)
async def test_each_error_has_its_code(
    server: Server, order: str, code: StatusCode, retry_after: str | None
) -> None:
    error = await server.failure(grpc_ask(f"!raise {order}"), metadata=(("x-request-id", "r-1"),))
    trailing = dict(error.trailing_metadata())
    assert error.code() is code
    named = ErrorCode.of(trailing["x-yiwen-error-code"])
    assert named is not None
    assert StatusCode[named.grpc_status] is code
    assert error.details()
    assert trailing.get("retry-after") == retry_after
    assert trailing["x-request-id"] == "r-1"
    assert trailing.get("x-yiwen-release") == (RELEASE if "Mismatch" in order else None)


@pytest.mark.parametrize("order", ["!bug", "!nan", "!leak"])
async def test_an_unexpected_failure_is_internal_and_says_no_more(server: Server, order: str) -> None:
    error = await server.failure(grpc_ask(order))
    indistinct = order == "!leak" and sys.version_info < (
        3,
        11,
    )  # a leaked cancellation looks like the caller's
    assert error.code() is (StatusCode.CANCELLED if indistinct else StatusCode.INTERNAL)
    assert order not in error.details()


def _set(target: MutableSequence[Any], index: int, value: object) -> None:
    target[index] = value


MALFORMED: dict[str, Callable[[Any], object]] = {
    "raw and typed": lambda request: request.inputs[0].contents.bytes_contents.append(b"x"),
    "raw, one missing": lambda request: request.raw_input_contents.pop(),
    "raw, invalid UTF-8": lambda request: _set(request.raw_input_contents, 0, b"\x01\0\0\0\xff"),
    "raw, cut off": lambda request: _set(request.raw_input_contents, 0, b"\x09\0\0\0x"),
    "shape": lambda request: _set(request.inputs[0].shape, 0, 2),
    "rank": lambda request: request.inputs[0].shape.append(1),
    "negative shape": lambda request: _set(request.inputs[0].shape, 0, -1),
    "invalid UTF-8": lambda request: _set(request.inputs[0].contents.bytes_contents, 0, b"\xff"),
    "datatype": lambda request: setattr(request.inputs[0], "datatype", "INT32"),
    "unknown datatype": lambda request: setattr(request.inputs[0], "datatype", "TEXT"),
    "two fields": lambda request: request.inputs[0].contents.int_contents.append(1),
    "no inputs": lambda request: request.inputs.clear(),
    "parameter": lambda request: setattr(request.parameters["max_new_tokens"], "int64_param", -1),
    "parameter without value": lambda request: request.parameters["max_new_tokens"].SetInParent(),
    "unknown output": lambda request: request.outputs.add(name="nothing"),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_requests_are_invalid_argument(server: Server, case: str) -> None:
    request = grpc_ask("x", raw=case.startswith("raw"))
    MALFORMED[case](request)
    error = await server.failure(request)
    assert error.code() is StatusCode.INVALID_ARGUMENT, error
    assert error.details()


async def test_another_model_or_version_is_not_found(server: Server) -> None:
    request = grpc_ask("x")
    request.model_version = "1"
    assert (await server.failure(request)).code() is StatusCode.NOT_FOUND
    request = grpc_ask("x")
    request.model_name = "other"
    assert (await server.failure(request)).code() is StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as caught:
        await server.call("ModelReady", pb.ModelReadyRequest(name="other"), pb.ModelReadyResponse)
    assert caught.value.code() is StatusCode.NOT_FOUND


async def test_loading_and_unloading_are_refused(server: Server) -> None:
    for method, request, reply in (
        ("RepositoryModelLoad", pb.RepositoryModelLoadRequest, pb.RepositoryModelLoadResponse),
        ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest, pb.RepositoryModelUnloadResponse),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            await server.call(method, request(model_name=MODEL), reply)
        assert caught.value.code() is StatusCode.PERMISSION_DENIED
    assert await server.infer(grpc_ask("still here"))


async def test_a_long_message_is_resource_exhausted(server: Server) -> None:
    error = await server.failure(grpc_ask("x" * 10_000_000))
    assert error.code() is StatusCode.RESOURCE_EXHAUSTED


async def test_work_is_cancelled_when_the_caller_cancels(server: Server) -> None:
    started = server.state()["started"]
    call = asyncio.ensure_future(
        server.infer(grpc_ask("!sleep 30"), metadata=(("x-request-id", "grpc-gone"),))
    )
    while server.state()["started"] == started:
        await asyncio.sleep(0.01)
    cancelled = time.monotonic()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    wait_until(lambda: server.state()["cancelled_at"] > cancelled)
    assert server.state()["cancelled_at"] - cancelled < 0.5
    assert server.log_of("grpc-gone")[-1]["status"] == 499


async def test_work_is_cancelled_at_the_callers_deadline(server: Server) -> None:
    begun = time.monotonic()
    metadata = (("x-request-id", "grpc-late"),)
    error = await server.failure(grpc_ask("!sleep 30"), timeout=0.2, metadata=metadata)
    assert error.code() is StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: server.state()["cancelled_at"] > begun)
    assert server.log_of("grpc-late")[-1]["status"] == 504
