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
    PredictorTooLate,
    ReleaseNotServed,
)


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
async def test_a_release_that_nobody_serves_is_503_that_names_both(
    route: Route, predictors: Predictors, registry: CollectorRegistry, tagged: bool
) -> None:
    main, other = predictors(OTHER), predictors(OTHER)
    router = await route(main.url, *([other.url] if tagged else []))
    with pytest.raises(
        ReleaseNotServed, match=f"release {RELEASE} and found only a predictor of {OTHER}"
    ) as caught:
        await router.generate(request(), HEADERS)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1.0)
    assert "YIWEN_PREDICTOR_TAGGED_URLS" in caught.value.message
    assert count(registry, "release_searches", result="not_found") == 1
    assert len(main.requests) == 1


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
