"""The router before predictors that are not up, break, or have too much to do."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from protocol.codec import document_from_delta, encode_event
from protocol.error_codes import ErrorCode
from protocol.errors import NotReady, Overloaded
from protocol.messages import FinishReason, GenerateResponse, GenerationEnd, TokenDelta
from tests.ports import free_port
from tests.transformer.broken_server import ANSWER, CLOSE_BEFORE, SILENT, breaking
from tests.transformer.predictor_stand_in import RELEASE, echo
from tests.transformer.predictors.test_client import HEADERS, request, wait_until
from tests.transformer.routing import OTHER, Predictors, Route, count, retried, sends
from transformer.errors import (
    AdmissionRejected,
    ColdStartTimeout,
    ConnectionsBusy,
    GatewayError,
    NoConnection,
    PredictorUnreachable,
)
from transformer.predictors.admission import request_tokens
from transformer.predictors.readiness import ColdStartStatus
from transformer.predictors.retry_budget import BURST, MIN_RETRIES_PER_S, RETRY_RATIO
from transformer.predictors.router import MAX_RESENDS, PredictorRouter

EVENTS = {"content-type": "text/event-stream"}


async def test_misses_sent_before_the_predictor_is_up_are_answered_after(
    route: Route, predictors: Predictors, registry: CollectorRegistry
) -> None:
    port = free_port()
    router = await route(f"127.0.0.1:{port}")
    early = [asyncio.create_task(router.generate(request((0, n, 1)), HEADERS)) for n in range(5, 105)]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in early)
    started = predictors(port=port)
    assert await asyncio.gather(*early) == [echo(request((0, n, 1))) for n in range(5, 105)]
    assert len(started.requests) == 100
    assert count(registry, "cold_start_waits", result="released") == 100
    assert await router.generate(request(), HEADERS) == echo(request())


@pytest.mark.parametrize("callers", [1, 100])
async def test_a_predictor_that_answers_503_while_it_starts_is_waited_for(
    route: Route, predictors: Predictors, registry: CollectorRegistry, callers: int
) -> None:
    main = predictors()
    main.raw, main.ready = (503, b"no healthy upstream", {}), False
    router = await route(main.url)
    early = [asyncio.create_task(router.generate(request(), HEADERS)) for _ in range(callers)]
    await wait_until(lambda: main.questions.count("/v2/models/tiny/ready") >= 2)
    main.raw, main.ready = None, True
    assert await asyncio.gather(*early) == [echo(request())] * callers
    assert retried(registry, "cold_start") == 0  # it had said itself that it was not up


@pytest.mark.parametrize("status", [401, 403, 502, 504])
@pytest.mark.parametrize("callers", [1, 100])
async def test_what_a_proxy_answers_for_a_predictor_that_is_down_is_waited_for(
    route: Route, predictors: Predictors, registry: CollectorRegistry, status: int, callers: int
) -> None:
    main = predictors()
    main.raw, main.ready = (status, b"no predictor here", {}), False
    router = await route(main.url)
    early = [asyncio.create_task(router.generate(request(), HEADERS)) for _ in range(callers)]
    await wait_until(lambda: main.questions.count("/v2/models/tiny/ready") >= 2)
    main.raw, main.ready = None, True
    assert await asyncio.gather(*early) == [echo(request())] * callers
    assert count(registry, "gateway_errors", status=str(status)) == callers
    assert retried(registry, "cold_start") == 0


@pytest.mark.parametrize(("status", "sent"), [(502, 1 + MAX_RESENDS), (403, 1 + int(BURST))])
async def test_a_proxy_that_fails_while_the_predictor_is_ready_gets_few_requests_more(
    route: Route, predictors: Predictors, status: int, sent: int
) -> None:
    main = predictors()
    main.raw = (status, b"no", {})
    started = time.monotonic()
    with pytest.raises(GatewayError, match=str(status)):
        await (await route(main.url)).generate(request(), HEADERS)
    earned = MIN_RETRIES_PER_S * (time.monotonic() - started)
    assert sent <= len(main.requests) <= sent + (earned if status == 403 else 0)


async def test_a_request_on_a_connection_that_broke_is_sent_again_to_a_predictor_that_comes_back(
    route: Route, registry: CollectorRegistry
) -> None:
    async with breaking(lambda connection, number: ANSWER if connection else CLOSE_BEFORE) as broken:
        router = await route(broken.url)
        assert await router.generate(request(), HEADERS) == echo(request())
        assert sends(registry, "main") == 2


async def test_all_that_a_killed_predictor_had_under_way_is_answered_by_another(route: Route) -> None:
    lost = int(BURST) + 2
    async with breaking(lambda connection, number: CLOSE_BEFORE if connection < lost else ANSWER) as broken:
        router = await route(broken.url)
        under_way = [router.generate(request(), HEADERS) for _ in range(lost)]
        assert await asyncio.gather(*under_way) == [echo(request())] * lost
        assert broken.requests == 2 * lost


async def test_a_stream_whose_predictor_goes_down_in_the_middle_goes_on(
    route: Route, predictors: Predictors
) -> None:
    main = predictors()
    whole = [
        TokenDelta(0, (4, 5), (-0.1, -0.2)),
        TokenDelta(0, (6,), (-0.3,), GenerationEnd(-0.2, FinishReason.STOP, RELEASE)),
    ]
    main.raw = (200, encode_event(document_from_delta(whole[0])), EVENTS)
    stream = (await route(main.url)).stream(request(), HEADERS)
    deltas = [await anext(stream)]
    body = b"".join(encode_event(document_from_delta(delta)) for delta in whole)
    main.raw = (200, body, EVENTS)
    deltas += [item async for item in stream if isinstance(item, TokenDelta)]
    assert deltas == whole
    assert len(main.requests) == 2


async def test_a_stream_that_would_go_on_with_other_tokens_ends_with_an_error(
    route: Route, predictors: Predictors
) -> None:
    main = predictors()
    main.raw = (200, encode_event(document_from_delta(TokenDelta(0, (4, 5), (-0.1, -0.2)))), EVENTS)
    stream = (await route(main.url)).stream(request(), HEADERS)
    await anext(stream)
    main.raw = (200, encode_event(document_from_delta(TokenDelta(0, (9,), (-0.1,)))), EVENTS)
    with pytest.raises(PredictorUnreachable, match="broke before its answer was complete"):
        _ = [item async for item in stream]
    assert len(main.requests) == 2


async def test_what_was_not_sent_is_not_counted_as_sent(route: Route, registry: CollectorRegistry) -> None:
    router = await route(f"127.0.0.1:{free_port()}", cold_start_timeout_s=0.0)
    with pytest.raises(NoConnection):
        await router.generate(request(), HEADERS)
    assert sends(registry, "main") == 0
    async with breaking(lambda connection, number: SILENT) as silent:
        router = await route(silent.url, max_connections=1, pool_timeout_s=0.05)
        holding = asyncio.create_task(router.generate(request(), HEADERS))
        await wait_until(lambda: silent.requests)
        with pytest.raises(ConnectionsBusy) as caught:
            await router.generate(request(), HEADERS)
        holding.cancel()
    assert caught.value.code is ErrorCode.CONNECTIONS_BUSY
    assert (sends(registry, "main"), count(registry, "connections_refused")) == (1, 1)


async def test_a_503_of_a_predictor_that_says_it_is_ready_is_not_answered_with_more_load(
    route: Route, predictors: Predictors, registry: CollectorRegistry
) -> None:
    main = predictors()
    main.raw = (503, b'{"error": "too much to do"}', {"retry-after": "3"})
    router = await route(main.url)
    answers = await asyncio.gather(
        *(router.generate(request(), HEADERS) for _ in range(200)), return_exceptions=True
    )
    assert all(isinstance(answer, NotReady) for answer in answers)
    assert len(main.requests) <= 200 * 1.1 + BURST
    assert count(registry, "predictor_retries", kind="cold_start", result="refused") > 0


async def test_a_hold_that_is_exceeded_is_503_with_retry_after(route: Route) -> None:
    router = await route(f"127.0.0.1:{free_port()}", cold_start_timeout_s=0.3)
    started = time.monotonic()
    with pytest.raises(ColdStartTimeout) as caught:
        await router.generate(request(), HEADERS)
    assert 0.3 <= time.monotonic() - started < 2.0
    assert caught.value.status == 503
    assert caught.value.retry_after_s is not None


async def test_a_deadline_ends_the_hold(route: Route) -> None:
    router = await route(f"127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(ColdStartTimeout):
        await router.generate(request(deadline_ms=300), HEADERS)
    assert time.monotonic() - started < 2.0


async def test_without_a_hold_it_is_said_at_once(route: Route) -> None:
    router = await route(f"127.0.0.1:{free_port()}", cold_start_timeout_s=0.0)
    for _ in range(2):
        with pytest.raises(NoConnection):
            await router.generate(request(), HEADERS)


async def test_the_time_waited_is_not_there_for_the_predictor(route: Route, predictors: Predictors) -> None:
    port = free_port()
    router = await route(f"127.0.0.1:{port}")
    early = asyncio.create_task(router.generate(request(deadline_ms=10_000), HEADERS))
    await asyncio.sleep(0.3)
    started = predictors(port=port)
    await early
    assert 0 < (started.requests[0].deadline_ms or 0) <= 9_700


async def test_a_stream_says_that_it_waits_beyond_the_hold(route: Route, predictors: Predictors) -> None:
    port = free_port()
    router = await route(f"127.0.0.1:{port}", cold_start_timeout_s=0.2)
    stream = router.stream(request(), HEADERS)
    waits = [await anext(stream), await anext(stream)]
    assert all(isinstance(item, ColdStartStatus) for item in waits)
    sent = TokenDelta(0, (4,), (-0.1,), GenerationEnd(-0.1, FinishReason.STOP, RELEASE))
    started = predictors(port=port)
    started.raw = (200, encode_event(document_from_delta(sent)), EVENTS)
    rest = [item async for item in stream]
    assert rest[-1] == sent
    assert all(isinstance(item, ColdStartStatus) for item in rest[:-1])


async def test_closing_ends_all_waits(route: Route) -> None:
    router = await route(f"127.0.0.1:{free_port()}")
    waiting = asyncio.create_task(router.generate(request(), HEADERS))
    await asyncio.sleep(0.2)
    await router.close()
    with pytest.raises(NotReady, match="stopping"):
        await waiting


async def test_a_predictor_that_breaks_idle_connections_gets_a_tenth_more_and_no_flood(route: Route) -> None:
    async with breaking(lambda connection, number: CLOSE_BEFORE if number else ANSWER) as broken:
        router = await route(broken.url)
        started = time.monotonic()
        answers = [await outcome(router) for _ in range(300)]
        earned = RETRY_RATIO * 300 + MIN_RETRIES_PER_S * (time.monotonic() - started)
        assert broken.requests <= 300 + BURST + earned + 5
        assert answers.count(True) >= 150  # a connection that broke is not used again


async def outcome(router: PredictorRouter) -> bool:
    """Whether a request was answered."""
    try:
        return await router.generate(request(), HEADERS) == echo(request())
    except PredictorUnreachable:
        return False


async def admitted(router: PredictorRouter) -> GenerateResponse:
    """The answer to one request, which is sent if it is admitted."""
    with router.admission.admit(request_tokens(request())):
        return await router.generate(request(), HEADERS)


async def test_beyond_the_budget_misses_are_refused_and_room_comes_back(
    route: Route, predictors: Predictors, registry: CollectorRegistry
) -> None:
    main = predictors()
    main.delay_s = 0.3
    router = await route(main.url, admission_tokens=440)  # ten requests of 44

    answers = await asyncio.gather(*(admitted(router) for _ in range(30)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, AdmissionRejected)]
    assert (len(refused), len(main.requests)) == (20, 10)
    assert answers.count(echo(request())) == 10
    assert registry.get_sample_value("yiwen_transformer_admitted_tokens") == 0
    assert await admitted(router) == echo(request())


async def test_the_predictors_own_refusal_passes_through(route: Route, predictors: Predictors) -> None:
    main = predictors()
    main.raw = (429, b'{"error": "the queue is full"}', {"retry-after": "7"})
    with pytest.raises(Overloaded, match="the queue is full") as caught:
        await (await route(main.url)).generate(request(), HEADERS)
    assert caught.value.retry_after_s == 7
    assert len(main.requests) == 1


async def test_when_all_connections_are_busy_the_time_to_come_back_is_measured(
    route: Route, predictors: Predictors
) -> None:
    main = predictors()
    main.delay_s = 0.5
    router = await route(main.url, max_connections=1, pool_timeout_s=0.6)
    answers = await asyncio.gather(*(admitted(router) for _ in range(10)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert len(refused) >= 7
    # One answer of 44 tokens in half a second was seen by then: what waits takes some seconds.
    assert all(1.0 < (each.retry_after_s or 0.0) < 30.0 for each in refused)


async def test_a_stream_that_its_reader_leaves_gives_its_room_back(
    route: Route, registry: CollectorRegistry
) -> None:
    router = await route(f"127.0.0.1:{free_port()}")
    stream = router.stream(request(), HEADERS)
    await anext(stream)
    assert registry.get_sample_value("yiwen_transformer_cold_start_waiters") == 1
    await stream.aclose()
    assert registry.get_sample_value("yiwen_transformer_cold_start_waiters") == 0


async def test_more_requests_than_the_retry_budget_outlive_a_restart_behind_a_cached_address(
    route: Route, predictors: Predictors, registry: CollectorRegistry
) -> None:
    """Every address leads to the one predictor, whose proxy answers 502 until it is up again."""
    main, mine = predictors(OTHER), predictors(RELEASE)
    router = await route(main.url, mine.url)
    await router.generate(request(), HEADERS)  # finds the other address
    for address in (main, mine):
        address.raw, address.ready, address.release = (502, b"no predictor here", {}), False, RELEASE
    callers = 3 * int(BURST)
    early = [asyncio.create_task(router.generate(request(), HEADERS)) for _ in range(callers)]
    await wait_until(lambda: main.questions.count("/v2/models/tiny/ready") >= 2)
    for address in (main, mine):
        address.raw, address.ready, address.answer = None, True, echo
    assert await asyncio.gather(*early) == [echo(request())] * callers
    assert count(registry, "predictor_retries", kind="reroute", result="refused") > 0
