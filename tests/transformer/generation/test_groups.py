"""Groups: how the texts of a request become requests to the predictor, over a predictor in this process."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping

import pytest
from prometheus_client import CollectorRegistry

from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from protocol.errors import InternalFault
from protocol.messages import CacheStatus, GenerateRequest, GenerateResponse, TranslateRequest
from protocol.prompt_encoder import PromptEncoder
from protocol.release import Limits
from protocol.translation_spec import TranslationSpec
from tests.predictor.conftest import RELEASE as ENGINE_RELEASE
from tests.predictor.conftest import HashRunner
from tests.transformer.generators import create_generator
from tests.transformer.predictor_stand_in import RELEASE, echo
from transformer.cache.memory import LruCache
from transformer.errors import AdmissionRejected, PredictorTooLate
from transformer.generation.groups import Grouping, run_groups
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.predictors.interface import Predictor
from transformer.texts.bounds import TextBounds
from transformer.texts.guards import Guards
from transformer.texts.languages import Languages

HIT, MISS = CacheStatus.HIT, CacheStatus.MISS
MAX_NEW_TOKENS = 6
SLOTS = 16


class Recorder:
    """Answers each request once a test lets it go, and records which were in flight together."""

    def __init__(self) -> None:
        self.requests: list[GenerateRequest] = []
        self.go = asyncio.Event()
        self.in_flight = 0
        self.most_in_flight = 0
        self.cancelled = 0
        self.failing: set[int] = set()
        """Numbers of the requests that fail."""

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        number = len(self.requests)
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.go.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        if number in self.failing:
            raise InternalFault("made to fail")
        return echo(request)


Make = Callable[..., Pipeline]


@pytest.fixture
def make(spec: TranslationSpec, tokenizer: PromptEncoder, metrics: TransformerMetrics) -> Make:
    def _make(
        predictor: Predictor,
        size: int,
        in_flight: int,
        admission_tokens: int = 1 << 20,
        release: str = RELEASE,
    ) -> Pipeline:
        return Pipeline(
            release=release,
            bounds=Bounds(TextBounds(2_000), max_deadline_ms=60_000),
            languages=Languages(spec),
            tokenizer=tokenizer,
            cache=LruCache(1_000_000),
            generator=create_generator(
                tokenizer,
                Guards(dataclasses.replace(spec, guards=dataclasses.replace(spec.guards, checks=()))),
                predictor,
                metrics,
                grouping=Grouping(size, in_flight),
                admission_tokens=admission_tokens,
            ),
            metrics=metrics,
        )

    return _make


def asking(*texts: str, deadline_ms: int | None = None) -> TranslateRequest:
    return TranslateRequest(
        texts,
        ("en",) * len(texts),
        ("zh",) * len(texts),
        max_new_tokens=MAX_NEW_TOKENS,
        deadline_ms=deadline_ms,
    )


def numbered(count: int) -> list[str]:
    return [f"shoe {number}" for number in range(count)]


async def settle() -> None:
    """Let everything run that does not wait for something outside of the loop."""
    for _ in range(200):
        await asyncio.sleep(0)


async def test_a_request_goes_out_in_groups_a_bounded_number_at_a_time(make: Make) -> None:
    predictor = Recorder()
    pipeline = make(predictor, size=3, in_flight=2)
    answer = asyncio.create_task(pipeline.translate(asking(*numbered(10)), {}))
    await settle()
    assert [len(request.prompts) for request in predictor.requests] == [3, 3]
    predictor.go.set()
    response = await answer
    assert [translation.text for translation in response.translations] == numbered(10)
    assert [len(request.prompts) for request in predictor.requests] == [3, 3, 3, 1]
    assert predictor.most_in_flight == 2
    assert all(len(r.max_new_tokens) == len(r.max_repeats) == len(r.prompts) for r in predictor.requests)


async def test_groups_share_the_deadline_of_their_request(make: Make) -> None:
    predictor = Recorder()
    pipeline = make(predictor, size=1, in_flight=1)
    answer = asyncio.create_task(pipeline.translate(asking(*numbered(3), deadline_ms=3_000), {}))
    await settle()
    await asyncio.sleep(0.2)
    predictor.go.set()
    await answer
    first, second, third = [request.deadline_ms or 0 for request in predictor.requests]
    assert 2_800 < first <= 3_000
    assert first - 2_000 < second <= first - 200
    assert third <= second


async def test_no_group_is_sent_once_the_deadline_has_passed(make: Make) -> None:
    predictor = Recorder()
    pipeline = make(predictor, size=1, in_flight=1)
    answer = asyncio.create_task(pipeline.translate(asking(*numbered(3), deadline_ms=100), {}))
    await asyncio.sleep(0.15)
    predictor.go.set()
    with pytest.raises(PredictorTooLate):
        await answer
    assert len(predictor.requests) == 1


async def test_the_results_of_good_groups_are_kept_when_another_fails(make: Make) -> None:
    predictor = Recorder()
    predictor.failing = {1}
    predictor.go.set()
    pipeline = make(predictor, size=2, in_flight=3)
    with pytest.raises(InternalFault):
        await pipeline.translate(asking(*numbered(20)), {})
    sent = len(predictor.requests)
    assert sent < 10, "no group is started after a failure"
    response = await pipeline.translate(asking(*numbered(20)), {})
    caches = [translation.cache for translation in response.translations]
    assert caches == [HIT, HIT, MISS, MISS, *[HIT] * (2 * sent - 4), *[MISS] * (20 - 2 * sent)]
    assert [translation.text for translation in response.translations] == numbered(20)


async def test_a_follower_gets_its_text_with_its_group(make: Make) -> None:
    predictor = Recorder()
    pipeline = make(predictor, size=1, in_flight=1)
    long = asyncio.create_task(pipeline.translate(asking(*numbered(50)), {}))
    await settle()
    follower = asyncio.create_task(pipeline.translate(asking("shoe 1"), {}))
    await settle()
    predictor.go.set()
    response = await follower
    assert response.translations[0].cache is CacheStatus.SHARED
    assert not long.done()
    assert len(predictor.requests) < 10
    await long


async def test_a_caller_that_leaves_ends_all_its_groups(make: Make) -> None:
    predictor = Recorder()
    pipeline = make(predictor, size=1, in_flight=4)
    answer = asyncio.create_task(pipeline.translate(asking(*numbered(50)), {}))
    await settle()
    answer.cancel()
    await settle()
    assert predictor.cancelled == 4
    assert predictor.in_flight == 0
    assert len(predictor.requests) == 4


async def test_a_request_is_admitted_as_a_whole(make: Make, registry: CollectorRegistry) -> None:
    def admitted() -> float:
        return registry.get_sample_value("yiwen_transformer_admitted_tokens") or 0.0

    predictor = Recorder()
    pipeline = make(predictor, size=1, in_flight=1, admission_tokens=200)
    first = asyncio.create_task(pipeline.translate(asking(*numbered(30)), {}))
    await settle()
    of_all = admitted()
    assert of_all > 30 * MAX_NEW_TOKENS, "all texts count, though one of them is in flight"
    with pytest.raises(AdmissionRejected):
        await pipeline.translate(asking("another"), {})
    predictor.go.set()
    await first
    assert admitted() == 0


async def test_a_cancellation_of_the_groups_waits_until_they_have_ended() -> None:
    ended = []

    async def group() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append(1)

    task = asyncio.create_task(run_groups([group] * 5, 3))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(ended) == 3


class EnginePredictor:
    """The engine as a predictor, stepped by the test: its steps are the time."""

    def __init__(self) -> None:
        release = dataclasses.replace(ENGINE_RELEASE, limits=Limits(max_sequence_tokens=512, candidates=2))
        # Never the stop token: each answer is as long as it may be.
        runner = HashRunner(SLOTS, model=lambda tokens: 8 + len(tokens) % 20)
        self.engine = LLMEngine(
            runner,
            release,
            prefill_tokens=512,
            queue_tokens=1 << 20,
            metrics=EngineMetrics(CollectorRegistry()),
        )
        self.steps = 0
        self.requests: list[GenerateRequest] = []

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        self.requests.append(request)
        return await asyncio.wrap_future(self.engine.submit(request))

    async def step(self) -> None:
        if self.engine.has_work:
            self.engine.step()
            self.steps += 1
        await settle()

    async def steps_until(self, task: asyncio.Task[object]) -> int:
        before, end = self.steps, time.monotonic() + 30
        while not task.done():
            assert time.monotonic() < end
            await self.step()
        return self.steps - before


@pytest.mark.parametrize(("size", "in_flight"), [(1, SLOTS + 1), (4, SLOTS // 4 + 1), (SLOTS, 2)])
async def test_a_long_request_delays_a_short_one_by_one_group_at_most(
    make: Make, size: int, in_flight: int
) -> None:
    predictor = EnginePredictor()
    pipeline = make(predictor, size=size, in_flight=in_flight, release=ENGINE_RELEASE.id)
    alone = await predictor.steps_until(asyncio.create_task(pipeline.translate(asking("alone"), {})))
    assert alone <= MAX_NEW_TOKENS + 1
    long = asyncio.create_task(pipeline.translate(asking(*numbered(1_024)), {}))
    delays = []
    for number in range(20):
        for _ in range(number % 7):
            await predictor.step()
        scheduler = predictor.engine.scheduler
        assert len(scheduler.waiting) - scheduler.kv_cache.num_free <= size
        short = asyncio.create_task(pipeline.translate(asking(f"between {number}"), {}))
        delays.append(await predictor.steps_until(short) - alone)
    assert not long.done()
    # Until the sequences that run have ended, and then those of one group: each takes MAX_NEW_TOKENS steps.
    assert max(delays) <= 2 * MAX_NEW_TOKENS
    await predictor.steps_until(long)
    assert sum(len(request.prompts) for request in predictor.requests) == 1_024 + 21
