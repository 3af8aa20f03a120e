"""The client's side of a token stream, against events that a stand-in sends over a real connection."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

import pytest

from protocol.codec import HEARTBEAT, document_from_delta, encode_error_event, encode_event
from protocol.errors import DeadlineExceeded, InternalFault, Overloaded
from protocol.messages import FinishReason, GenerateRequest, GenerationEnd, TokenDelta
from tests.transformer.predictor_stand_in import RELEASE, StandIn
from tests.transformer.predictors.test_client import HEADERS, wait_until
from transformer.errors import PredictorTooLate, PredictorUnreachable
from transformer.predictors.client import PredictorClient

Connect = Callable[..., Awaitable[PredictorClient]]
SSE: Mapping[str, str] = {"content-type": "text/event-stream"}
END = GenerationEnd(-0.5, FinishReason.STOP, RELEASE)


def request(prompts: int = 1, deadline_ms: int = 5_000) -> GenerateRequest:
    return GenerateRequest(
        ((0, 7, 8, 1),) * prompts, (40,) * prompts, release=RELEASE, deadline_ms=deadline_ms
    )


def events(*deltas: TokenDelta) -> bytes:
    return b"".join(HEARTBEAT + encode_event(document_from_delta(delta)) for delta in deltas)


async def collect(client: PredictorClient, asked: GenerateRequest) -> list[TokenDelta]:
    return [delta async for delta in client.stream(asked, HEADERS)]


async def test_deltas_come_in_order_until_every_prompt_has_ended(stand_in: StandIn, connect: Connect) -> None:
    sent = [
        TokenDelta(1, (4, 5), (-0.1, -0.2)),
        TokenDelta(0, (), (), END),
        TokenDelta(1, (6,), (-0.3,), END),
    ]
    stand_in.raw = (200, events(*sent), SSE)
    asked = request(prompts=2)
    assert await collect(await connect(stand_in.url), asked) == sent
    assert stand_in.requests == [asked]
    assert stand_in.paths == ["/v2/models/tiny/generate_stream"]
    assert stand_in.headers[0]["x-request-id"] == HEADERS["x-request-id"]


async def test_a_stream_that_ends_before_every_prompt_has_is_broken(
    stand_in: StandIn, connect: Connect
) -> None:
    stand_in.raw = (200, events(TokenDelta(0, (4,), (-0.1,), END)), SSE)
    with pytest.raises(PredictorUnreachable, match="before its answer was complete"):
        await collect(await connect(stand_in.url), request(prompts=2))


async def test_an_error_event_raises_after_the_deltas_before_it(stand_in: StandIn, connect: Connect) -> None:
    before = TokenDelta(0, (4,), (-0.1,))
    stand_in.raw = (200, events(before) + encode_error_event(DeadlineExceeded("too late")), SSE)
    stream = (await connect(stand_in.url)).stream(request(), HEADERS)
    assert await anext(stream) == before
    with pytest.raises(DeadlineExceeded, match="too late"):
        await anext(stream)


async def test_an_error_before_the_stream_comes_back_as_itself(stand_in: StandIn, connect: Connect) -> None:
    stand_in.raw = (429, b'{"error": "no room"}', {"retry-after": "7"})
    with pytest.raises(Overloaded, match="no room") as caught:
        await collect(await connect(stand_in.url), request())
    assert caught.value.retry_after_s == 7


async def test_what_is_no_stream_of_ours_is_the_predictors_fault(stand_in: StandIn, connect: Connect) -> None:
    stand_in.raw = (200, b"data: a page\n\n", SSE)
    with pytest.raises(InternalFault, match="the predictor's stream cannot be read"):
        await collect(await connect(stand_in.url), request())


async def test_a_silent_predictor_is_given_up_a_little_after_the_deadline(
    stand_in: StandIn, connect: Connect
) -> None:
    stand_in.delay_s = 30.0
    client = await connect(stand_in.url)
    started = time.monotonic()
    with pytest.raises(PredictorTooLate):
        await collect(client, request(deadline_ms=100))
    assert 0.1 < time.monotonic() - started < 2.0
    await wait_until(lambda: stand_in.left_at)


async def test_a_refused_connection_is_reported(connect: Connect) -> None:
    with pytest.raises(PredictorUnreachable):
        await collect(await connect("http://127.0.0.1:9"), request())
