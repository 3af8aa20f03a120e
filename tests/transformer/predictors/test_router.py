"""The router's way to the right release, against stand-ins for predictors, each on a port of its own."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from prometheus_client import CollectorRegistry

from protocol.codec import document_from_delta, encode_event
from protocol.errors import NotFound
from protocol.messages import FinishReason, GenerationEnd, TokenDelta
from tests.transformer.predictor_stand_in import RELEASE, echo, serving_only
from tests.transformer.predictors.test_client import HEADERS, request
from tests.transformer.routing import OTHER, Predictors, Route, count, retried, sends
from transformer.errors import (
    ColdStartTimeout,
    PredictorTooLate,
    ReleaseNotServed,
)
from transformer.predictors.readiness import DEFAULT_START_S, ColdStartStatus


async def test_a_refusal_for_the_release_leads_to_the_tagged_predictor_from_then_on(
    route: Route, predictors: Predictors, registry: CollectorRegistry
) -> None:
    main, latest, prev = predictors(OTHER), predictors(OTHER), predictors(RELEASE)
    router = await route(main.url, latest.url, prev.url)
    for _ in range(3):
        assert await router.generate(request(), HEADERS) == echo(request())
    assert (len(main.requests), len(latest.requests), len(prev.requests)) == (1, 0, 3)
    assert latest.questions == prev.questions == ["/v2/models/tiny"]
    assert count(registry, "release_searches", result="found") == 1
    assert (sends(registry, "main"), sends(registry, "tagged2")) == (1, 3)


async def test_many_refusals_at_once_make_one_search(
    route: Route, predictors: Predictors, registry: CollectorRegistry
) -> None:
    main, mine = predictors(OTHER), predictors(RELEASE)
    router = await route(main.url, mine.url)
    await asyncio.gather(*(router.generate(request(), HEADERS) for _ in range(60)))
    assert len(mine.questions) == 1
    assert len(mine.requests) == 60
    assert sum(retried(registry, kind) for kind in ("reconnect", "reroute", "cold_start")) == 0


async def test_a_stream_finds_its_release_too(route: Route, predictors: Predictors) -> None:
    main, mine = predictors(OTHER), predictors(RELEASE)
    sent = TokenDelta(0, (4,), (-0.1,), GenerationEnd(-0.1, FinishReason.STOP, RELEASE))
    mine.raw = (200, encode_event(document_from_delta(sent)), {"content-type": "text/event-stream"})
    router = await route(main.url, mine.url)
    assert [item async for item in router.stream(request(), HEADERS)] == [sent]
    assert mine.paths == ["/v2/models/tiny/generate_stream"]


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize(
    ("timeout_s", "retry_after_s", "result"), [(0.0, 1.0, "released"), (0.3, DEFAULT_START_S, "given_up")]
)
async def test_a_release_that_nobody_serves_in_time_is_503_that_names_both(
    route: Route,
    predictors: Predictors,
    registry: CollectorRegistry,
    tagged: bool,
    timeout_s: float,
    retry_after_s: float,
    result: str,
) -> None:
    main, other = predictors(OTHER), predictors(OTHER)
    router = await route(main.url, *([other.url] if tagged else []), cold_start_timeout_s=timeout_s)
    started = time.monotonic()
    with pytest.raises(
        ReleaseNotServed, match=f"release {RELEASE} and found only a predictor of {OTHER}"
    ) as caught:
        await router.generate(request(), HEADERS)
    assert timeout_s <= time.monotonic() - started < 2.0
    assert (caught.value.status, caught.value.retry_after_s) == (503, retry_after_s)
    assert "YIWEN_PREDICTOR_TAGGED_URLS" in caught.value.message
    assert count(registry, "release_searches", result="not_found") == 1
    assert count(registry, "cold_start_waits", result=result) == (1 if timeout_s else 0)
    assert len(main.requests) == 1


async def test_requests_that_come_while_others_wait_for_the_release_are_told_the_same(
    route: Route, predictors: Predictors
) -> None:
    main = predictors(OTHER)
    router = await route(main.url, cold_start_timeout_s=0.4)
    first = asyncio.create_task(router.generate(request((0, 5, 1)), HEADERS))
    while not router.readiness_gate.is_blocking:
        await asyncio.sleep(0.01)
    later = [asyncio.create_task(router.generate(request((0, n, 1)), HEADERS)) for n in range(6, 9)]
    ends = await asyncio.gather(first, *later, return_exceptions=True)
    assert [type(each) for each in ends] == [ReleaseNotServed] * 4
    assert len(main.requests) == 1
    main.ready = False  # it may be of this release when it is up
    while router.search.other_release is not None:
        await asyncio.sleep(0.01)
    with pytest.raises(ColdStartTimeout):
        await router.generate(request(), HEADERS)


async def test_a_request_waits_for_a_predictor_of_its_release_that_is_not_routed_yet(
    route: Route, predictors: Predictors, registry: CollectorRegistry
) -> None:
    main, latest = predictors(OTHER), predictors(OTHER)
    router = await route(main.url, latest.url)
    early = [asyncio.create_task(router.generate(request((0, n, 1)), HEADERS)) for n in range(5, 55)]
    await asyncio.sleep(0.4)
    assert not any(task.done() for task in early)
    latest.release, latest.answer = RELEASE, serving_only(RELEASE)
    assert await asyncio.gather(*early) == [echo(request((0, n, 1))) for n in range(5, 55)]
    assert len(latest.requests) == 50
    assert sum(retried(registry, kind) for kind in ("reconnect", "reroute", "cold_start")) == 0


async def test_the_deadline_ends_the_wait_for_a_release(route: Route, predictors: Predictors) -> None:
    router = await route(predictors(OTHER).url)
    started = time.monotonic()
    with pytest.raises(ReleaseNotServed):
        await router.generate(request(deadline_ms=300), HEADERS)
    assert 0.3 <= time.monotonic() - started < 2.0


async def test_a_stream_reports_that_it_waits_for_its_release(route: Route, predictors: Predictors) -> None:
    main = predictors(OTHER)
    router = await route(main.url, cold_start_timeout_s=0.1)
    stream = router.stream(request(), HEADERS)
    waits = [await anext(stream), await anext(stream)]
    assert all(isinstance(item, ColdStartStatus) for item in waits)
    sent = TokenDelta(0, (4,), (-0.1,), GenerationEnd(-0.1, FinishReason.STOP, RELEASE))
    main.raw = (200, encode_event(document_from_delta(sent)), {"content-type": "text/event-stream"})
    main.release = RELEASE
    assert [item async for item in stream][-1] == sent


async def test_only_a_ready_predictor_of_the_release_ends_the_wait_at_the_start(
    route: Route, predictors: Predictors, registry: CollectorRegistry
) -> None:
    main, latest = predictors(OTHER), predictors(RELEASE)
    latest.ready = False
    router = await route(main.url, latest.url)
    found = asyncio.create_task(router.wait_for_predictor())
    await asyncio.sleep(0.5)
    assert not found.done()
    assert registry.get_sample_value("yiwen_transformer_predictor_found") == 0
    latest.ready = True
    await asyncio.wait_for(found, 2.0)
    assert registry.get_sample_value("yiwen_transformer_predictor_found") == 1
    assert await router.generate(request(), HEADERS) == echo(request())
    assert main.requests == []  # the address is known


async def test_when_tags_move_the_release_is_found_anew(route: Route, predictors: Predictors) -> None:
    main, latest, prev = predictors(OTHER), predictors(RELEASE), predictors(OTHER)
    router = await route(main.url, latest.url, prev.url)
    await router.generate(request(), HEADERS)
    latest.release, latest.answer = OTHER, serving_only(OTHER)
    prev.release, prev.answer = RELEASE, serving_only(RELEASE)
    await router.generate(request(), HEADERS)
    assert (len(main.requests), len(latest.requests), len(prev.requests)) == (1, 2, 1)


async def test_when_the_rollout_is_over_the_usual_address_is_taken_again(
    route: Route, predictors: Predictors
) -> None:
    main, latest = predictors(OTHER), predictors(RELEASE)
    router = await route(main.url, latest.url)
    await router.generate(request(), HEADERS)
    main.answer = serving_only(RELEASE)  # promoted
    latest.release, latest.answer = "0000000000000000", serving_only("0000000000000000")  # the next canary
    await router.generate(request(), HEADERS)
    await router.generate(request(), HEADERS)
    assert (len(main.requests), len(latest.requests)) == (3, 2)


@pytest.mark.parametrize("gone", [(404, b"", {}), (503, b"no healthy upstream", {})])
async def test_a_remembered_address_that_is_gone_is_left_for_the_usual_one(
    route: Route, predictors: Predictors, registry: CollectorRegistry, gone: tuple[int, bytes, dict[str, str]]
) -> None:
    main, mine = predictors(OTHER), predictors(RELEASE)
    router = await route(main.url, mine.url)
    await router.generate(request(), HEADERS)
    mine.raw = gone
    main.answer = serving_only(RELEASE)
    assert await router.generate(request(), HEADERS) == echo(request())
    assert await router.generate(request(), HEADERS) == echo(request())
    assert (len(main.requests), len(mine.requests)) == (3, 2)
    assert retried(registry, "reroute") == 1


async def test_the_usual_address_is_tried_again_after_a_while(route: Route, predictors: Predictors) -> None:
    main, mine = predictors(OTHER), predictors(RELEASE)
    router = await route(main.url, mine.url, release_check_s=0.05)
    await router.generate(request(), HEADERS)
    main.answer = serving_only(RELEASE)
    await asyncio.sleep(0.06)
    await router.generate(request(), HEADERS)
    assert (len(main.requests), len(mine.requests)) == (2, 1)


async def test_a_search_ends_with_the_requests_deadline(route: Route, predictors: Predictors) -> None:
    main = predictors(OTHER)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        router = await route(main.url, f"127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(PredictorTooLate):
            await router.generate(request(deadline_ms=200), HEADERS)
        assert time.monotonic() - started < 2.0
        await router.close()  # with a search under way


async def test_another_404_is_the_callers(route: Route, predictors: Predictors) -> None:
    main = predictors()
    main.raw = (404, b'{"error": "no such model"}', {})
    with pytest.raises(NotFound, match="no such model"):
        await (await route(main.url)).generate(request(), HEADERS)
