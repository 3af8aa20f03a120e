from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from protocol.error_codes import ErrorCode
from protocol.errors import (
    DeadlineExceeded,
    InternalFault,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
    ReleaseMismatch,
    TooLong,
    YiwenError,
)
from protocol.messages import GenerateRequest, GenerateResponse
from tests.transformer.broken_server import ANSWER, CLOSE_BEFORE, CLOSE_WITHIN, NOT_HTTP, SILENT, breaking
from tests.transformer.predictor_stand_in import RELEASE, StandIn, echo
from transformer.config import base_url
from transformer.errors import ConnectionLost, GatewayError, PredictorTooLate, PredictorUnreachable
from transformer.predictors.client import PredictorClient, forwarded_headers

Connect = Callable[..., Awaitable[PredictorClient]]
HEADERS = {"x-request-id": "r-1"}


def request(*prompts: tuple[int, ...], deadline_ms: int | None = 5_000) -> GenerateRequest:
    prompts = prompts or ((0, 7, 8, 1),)
    return GenerateRequest(prompts, (40,) * len(prompts), release=RELEASE, deadline_ms=deadline_ms)


async def wait_until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)


async def test_prompts_go_out_and_generations_come_back_in_order(stand_in: StandIn, connect: Connect) -> None:
    client = await connect(stand_in.url)
    asked = request((0, 5, 1), (0, 6, 7, 8, 1), (0, 9, 1))
    response = await client.generate(asked, HEADERS)
    assert response == echo(asked)
    assert stand_in.requests == [asked]
    assert stand_in.paths == ["/v2/models/tiny/infer"]


async def test_request_id_and_trace_travel_and_nothing_else_of_the_caller_does(
    stand_in: StandIn, connect: Connect
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = forwarded_headers("abc", {"traceparent": trace, "authorization": "secret", "cookie": "c"})
    await (await connect(stand_in.url)).generate(request(), headers)
    (seen,) = stand_in.headers
    assert (seen["x-request-id"], seen["traceparent"]) == ("abc", trace)
    assert not {"authorization", "cookie", "tracestate"} & seen.keys()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InvalidRequest, ErrorCode.INVALID_REQUEST),
        (NotFound, ErrorCode.MODEL_NOT_FOUND),
        (TooLong, ErrorCode.SEQUENCE_TOO_LONG),
        (Overloaded, ErrorCode.QUEUE_FULL),
        (InternalFault, ErrorCode.INTERNAL),
        (NotReady, ErrorCode.SHUTTING_DOWN),
        (DeadlineExceeded, ErrorCode.DEADLINE_EXCEEDED),
    ],
)
async def test_every_error_of_the_predictor_comes_back_as_itself(
    stand_in: StandIn, connect: Connect, kind: type[YiwenError], code: ErrorCode
) -> None:
    def refuse(_: GenerateRequest) -> GenerateResponse:
        raise kind("what is wrong", code=code, retry_after_s=7)

    stand_in.answer = refuse
    client = await connect(stand_in.url)
    with pytest.raises(kind, match="what is wrong") as caught:
        await client.generate(request(), HEADERS)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.retry_after_s) == (code, 7)


async def test_a_predictor_of_another_release_is_named(stand_in: StandIn, connect: Connect) -> None:
    def refuse(_: GenerateRequest) -> GenerateResponse:
        raise ReleaseMismatch("another release", serving="fedcba9876543210")

    stand_in.answer = refuse
    client = await connect(stand_in.url)
    with pytest.raises(ReleaseMismatch) as caught:
        await client.generate(request(), HEADERS)
    assert caught.value.serving == "fedcba9876543210"


@pytest.mark.parametrize(
    ("status", "body", "kind", "retry_after_s"),
    [
        (503, b"upstream connect error", GatewayError, 1.0),
        (504, b'{"error": "the deadline passed"}', DeadlineExceeded, None),
        (401, b"Jwt is missing", GatewayError, 1.0),
        (403, b"RBAC: access denied", GatewayError, 1.0),
        (403, b'{"error": "denied by upstream policy"}', GatewayError, 1.0),
        (502, b"<html>", GatewayError, 1.0),
        (504, b"upstream request timeout", GatewayError, 1.0),
        (302, b"", InternalFault, None),
        (404, b'{"detail": "Not Found"}', NotFound, None),
        (200, b"<html>", InternalFault, None),
        (200, b'{"outputs": []}', InternalFault, None),
    ],
)
async def test_what_a_proxy_answers_is_an_error_of_the_table_without_its_page(
    stand_in: StandIn,
    connect: Connect,
    status: int,
    body: bytes,
    kind: type[YiwenError],
    retry_after_s: float | None,
) -> None:
    stand_in.raw = (status, body, {"location": "/elsewhere"})
    with pytest.raises(kind) as caught:
        await (await connect(stand_in.url)).generate(request(), HEADERS)
    assert caught.value.retry_after_s == retry_after_s
    assert "upstream" not in caught.value.message
    assert "html" not in caught.value.message


async def test_a_refused_connection_is_503_with_retry_after(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(PredictorUnreachable, match="no connection") as caught:
        await (await connect(f"127.0.0.1:{port}")).generate(request(), HEADERS)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1.0)
    assert str(port) not in caught.value.message


async def test_an_address_that_does_not_answer_is_503_after_the_connect_timeout(connect: Connect) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        fillers = [socket.socket() for _ in range(4)]  # fill the backlog, so that further SYNs are dropped
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        client = await connect(f"127.0.0.1:{address[1]}", connect_timeout_s=0.1)
        with pytest.raises(PredictorUnreachable):
            await client.generate(request(), HEADERS)
        for filler in fillers:
            filler.close()


async def test_a_stale_pooled_connection_is_replaced_without_the_caller_noticing(connect: Connect) -> None:
    async with breaking(lambda connection, number: CLOSE_BEFORE if number else ANSWER) as broken:
        client = await connect(broken.url)
        for _ in range(3):
            assert await client.generate(request(), HEADERS) == echo(request())
        assert broken.connections >= 3


async def test_a_fresh_connection_that_breaks_is_not_tried_again(connect: Connect) -> None:
    async with breaking(lambda connection, number: CLOSE_BEFORE) as broken:
        with pytest.raises(ConnectionLost, match="broke before") as caught:
            await (await connect(broken.url)).generate(request(), HEADERS)
        assert caught.value.retry_after_s == 1.0
        assert broken.requests == 1


async def test_an_answer_that_breaks_off_is_not_asked_for_again(connect: Connect) -> None:
    async with breaking(lambda connection, number: CLOSE_WITHIN if number else ANSWER) as broken:
        client = await connect(broken.url)
        await client.generate(request(), HEADERS)
        with pytest.raises(PredictorUnreachable):
            await client.generate(request(), HEADERS)
        assert broken.requests == 2


async def test_a_retry_happens_once(connect: Connect) -> None:
    deeds = {(0, 0): ANSWER}
    async with breaking(lambda connection, number: deeds.get((connection, number), CLOSE_BEFORE)) as broken:
        client = await connect(broken.url)
        await client.generate(request(), HEADERS)
        with pytest.raises(PredictorUnreachable):
            await client.generate(request(), HEADERS)
        assert broken.requests == 3


async def test_a_port_that_does_not_speak_http_is_our_fault_and_says_what_to_check(connect: Connect) -> None:
    async with breaking(lambda connection, number: NOT_HTTP) as broken:
        with pytest.raises(InternalFault, match="YIWEN_PREDICTOR_URL does not speak HTTP"):
            await (await connect(broken.url)).generate(request(), HEADERS)


async def test_a_predictor_that_stays_silent_is_given_up_at_the_deadline(connect: Connect) -> None:
    async with breaking(lambda connection, number: SILENT) as broken:
        client = await connect(broken.url)
        started = time.monotonic()
        with pytest.raises(PredictorTooLate):
            await client.generate(request(deadline_ms=50), HEADERS)
        assert 0.05 <= time.monotonic() - started < 2


async def test_a_silent_predictor_is_given_up_at_the_read_timeout_if_there_is_no_deadline(
    connect: Connect,
) -> None:
    async with breaking(lambda connection, number: SILENT) as broken:
        client = await connect(broken.url, read_timeout_s=0.1)
        with pytest.raises(PredictorTooLate, match=r"within 0\.1 s"):
            await client.generate(request(deadline_ms=None), HEADERS)
        assert broken.requests == 1


async def test_a_cancelled_call_closes_its_connection_at_once(stand_in: StandIn, connect: Connect) -> None:
    stand_in.delay_s = 30.0
    client = await connect(stand_in.url)
    call = asyncio.create_task(client.generate(request(), HEADERS))
    await wait_until(lambda: stand_in.requests)
    left = time.monotonic()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await wait_until(lambda: stand_in.left_at is not None)
    assert stand_in.left_at is not None
    assert stand_in.left_at - left < 5.0  # its answer takes 30 s


async def test_more_calls_than_connections_wait_and_then_get_429(stand_in: StandIn, connect: Connect) -> None:
    stand_in.delay_s = 30.0
    client = await connect(stand_in.url, max_connections=1, pool_timeout_s=0.05)
    first = asyncio.create_task(client.generate(request(), HEADERS))
    await wait_until(lambda: stand_in.requests)
    with pytest.raises(Overloaded, match="all 1 connections") as caught:
        await client.generate(request(), HEADERS)
    assert caught.value.retry_after_s == 1.0
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    stand_in.delay_s = 0.0
    assert await client.generate(request(), HEADERS) == echo(request())


async def test_many_calls_share_few_connections_and_none_is_lost(stand_in: StandIn, connect: Connect) -> None:
    client = await connect(stand_in.url, max_connections=4)
    asked = [request((0, number, 1)) for number in range(5, 105)]
    assert await asyncio.gather(*(client.generate(each, HEADERS) for each in asked)) == [
        echo(each) for each in asked
    ]


async def test_a_closed_client_refuses_with_503(stand_in: StandIn, connect: Connect) -> None:
    client = await connect(stand_in.url)
    await client.close()
    with pytest.raises(NotReady):
        await client.generate(request(), HEADERS)


async def test_time_at_the_predictor_is_measured_even_when_it_fails(
    stand_in: StandIn, connect: Connect, registry: CollectorRegistry
) -> None:
    client = await connect(stand_in.url)
    await client.generate(request(), HEADERS)
    stand_in.raw = (500, b"", {})
    with pytest.raises(InternalFault):
        await client.generate(request(), HEADERS)
    assert registry.get_sample_value("yiwen_transformer_predictor_seconds_count") == 2


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("host", "http://host"),
        ("host:8080/", "http://host:8080"),
        ("https://host/prefix/", "https://host/prefix"),
    ],
)
def test_a_predictors_address_may_leave_out_the_scheme(given: str, whole: str) -> None:
    assert base_url(given) == whole


@pytest.mark.parametrize(
    "given", ["ftp://host", "http://", "host:0", "host:99999", "host:port", "http://host?x=1"]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"must|[Pp]ort"):
        base_url(given)


async def test_closing_ends_calls_that_wait_and_calls_under_way(stand_in: StandIn, connect: Connect) -> None:
    stand_in.delay_s = 30.0
    client = await connect(stand_in.url, max_connections=1)
    calls = [asyncio.create_task(client.generate(request(), HEADERS)) for _ in range(5)]
    await wait_until(lambda: stand_in.requests)
    await client.close()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, NotReady) for result in results), results
    assert await client.serving() is None
    assert not await client.is_ready()
