from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from protocol.errors import NotReady, Overloaded, ReleaseMismatch, YiwenError
from protocol.messages import (
    CacheStatus,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    OnError,
    SamplingParams,
    TextFormat,
    TranslateRequest,
    TranslateResponse,
)
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.prompt_errors import TextTooLong
from protocol.translation_spec import SamplingAdvice, TranslationSpec
from tests.transformer.clock import SlowCache, StoppedClock
from tests.transformer.generators import create_generator
from tests.transformer.predictor_stand_in import RELEASE, StandIn, answer_with, echo, length_limited
from tests.transformer.predictors.test_client import Connect
from tests.transformer.release import train_tokenizer
from transformer.cache.entries import Cache
from transformer.cache.memory import LruCache, NullCache
from transformer.errors import PredictorFault, PredictorTooLate, UnknownLanguage
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.predictors.interface import Predictor
from transformer.texts.bounds import TextBounds
from transformer.texts.guards import Guards
from transformer.texts.languages import Languages

HIT, MISS, SHARED, BYPASS = CacheStatus.HIT, CacheStatus.MISS, CacheStatus.SHARED, CacheStatus.BYPASS
Make = Callable[..., Pipeline]


class InProcess:
    """A predictor without HTTP, for what does not depend on it."""

    def __init__(self, answer: Callable[[GenerateRequest], GenerateResponse] = echo) -> None:
        self.answer = answer
        self.requests: list[GenerateRequest] = []

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        self.requests.append(request)
        await asyncio.sleep(0)
        return self.answer(request)


@pytest.fixture
def make(spec: TranslationSpec, tokenizer: PromptEncoder, metrics: TransformerMetrics) -> Make:
    def _make(
        predictor: Predictor, cache: Cache | None = None, clock: Callable[[], float] = time.monotonic
    ) -> Pipeline:
        return Pipeline(
            release=RELEASE,
            bounds=Bounds(TextBounds(2_000), max_deadline_ms=5_000),
            languages=Languages(spec),
            tokenizer=tokenizer,
            cache=cache if cache is not None else LruCache(1_000_000),
            generator=create_generator(tokenizer, Guards(spec), predictor, metrics, clock=clock),
            metrics=metrics,
            clock=clock,
        )

    return _make


def asking(*texts: str, source: str | None = None, target: str = "zh", **more: Any) -> TranslateRequest:
    return TranslateRequest(texts, (source,) * len(texts), (target,) * len(texts), **more)


def statuses(response: TranslateResponse) -> list[CacheStatus]:
    return [translation.cache for translation in response.translations]


def translated(response: TranslateResponse) -> list[str]:
    return [translation.text for translation in response.translations]


async def test_a_request_travels_over_http_and_keeps_its_order(
    make: Make, stand_in: StandIn, connect: Connect
) -> None:
    pipeline = make(await connect(stand_in.url))
    texts = ["red shoes", "12", " red shoes ", "", "hello world\n", "已经是中文", "red shoes"]
    response = await pipeline.translate(asking(*texts), {"x-request-id": "r"})
    assert translated(response) == texts
    assert statuses(response) == [MISS, BYPASS, SHARED, BYPASS, MISS, BYPASS, SHARED]
    assert [t.source for t in response.translations] == ["en", "und", "en", "und", "en", "zh", "en"]
    assert response.release == RELEASE
    (sent,) = stand_in.requests
    assert len(sent.prompts) == 2
    assert (sent.release, sent.params.temperature) == (RELEASE, 0.0)
    assert sent.deadline_ms is not None
    assert 0 < sent.deadline_ms <= 5_000


async def test_the_release_says_how_first_attempts_are_sampled(
    spec: TranslationSpec, metrics: TransformerMetrics
) -> None:
    advised = replace(spec, sampling=SamplingAdvice(0.7, 0.6, 20, 1.05))
    encoder = PromptEncoder(train_tokenizer(), advised, 512)
    predictor = InProcess()
    generator = create_generator(encoder, Guards(spec), predictor, metrics)
    pipeline = Pipeline(
        release=RELEASE,
        bounds=Bounds(TextBounds(10), max_deadline_ms=5_000),
        languages=Languages(spec),
        tokenizer=encoder,
        cache=LruCache(1_000_000),
        generator=generator,
        metrics=metrics,
    )
    first = await pipeline.translate(asking("red shoes"), {})
    assert predictor.requests[0].params == SamplingParams(temperature=0.7, top_p=0.6, seed=0, top_k=20)
    second = await pipeline.translate(asking("red shoes"), {})
    assert statuses(first) + statuses(second) == [MISS, HIT]


async def test_what_was_translated_once_is_a_hit_with_the_same_answer(
    make: Make, registry: CollectorRegistry
) -> None:
    predictor = InProcess()
    pipeline = make(predictor)
    first = await pipeline.translate(asking("red shoes", "hello"), {})
    again = await pipeline.translate(asking("hello", "red shoes", " hello"), {})
    assert statuses(again) == [HIT, HIT, HIT]
    assert translated(again) == ["hello", "red shoes", " hello"]
    assert again.translations[0].confidence == first.translations[1].confidence == math.exp(-0.5)
    # Only what was generated says how sure the model is.
    assert registry.get_sample_value("yiwen_transformer_confidence_count") == 2
    assert registry.get_sample_value("yiwen_transformer_confidence_sum") == pytest.approx(2 * math.exp(-0.5))
    assert len(predictor.requests) == 1


async def test_hits_and_misses_mix_in_one_request(make: Make) -> None:
    predictor = InProcess()
    pipeline = make(predictor)
    await pipeline.translate(asking("one", "three"), {})
    response = await pipeline.translate(asking("one", "two", "three", "two"), {})
    assert statuses(response) == [HIT, MISS, HIT, SHARED]
    assert translated(response) == ["one", "two", "three", "two"]
    assert len(predictor.requests[1].prompts) == 1


async def test_a_request_that_needs_no_model_makes_no_call(make: Make) -> None:
    predictor = InProcess()
    response = await make(predictor).translate(asking("  \n", "￥199", "手机壳"), {})
    assert statuses(response) == [BYPASS] * 3
    assert translated(response) == ["  \n", "￥199", "手机壳"]
    assert [t.confidence for t in response.translations] == [1.0] * 3
    assert predictor.requests == []


async def test_equal_texts_in_different_unicode_forms_are_one(make: Make) -> None:
    predictor = InProcess()
    response = await make(predictor).translate(asking("café", "cafe\u0301", source="en"), {})
    assert statuses(response) == [MISS, SHARED]
    assert translated(response) == ["café", "café"]


async def test_an_empty_answer_is_returned_but_not_kept(make: Make, registry: CollectorRegistry) -> None:
    predictor = InProcess(lambda r: answer_with(r, lambda _: Generation((), -0.2, FinishReason.STOP)))
    pipeline = make(predictor)
    for _ in range(2):
        response = await pipeline.translate(asking(" red shoes "), {})
        assert statuses(response) == [MISS]
        assert translated(response) == ["  "]
        assert response.translations[0].confidence == pytest.approx(math.exp(-0.2))
    assert registry.get_sample_value("yiwen_transformer_guard_failures_total", {"kind": "empty"}) == 2


async def test_an_answer_cut_at_its_bound_is_returned_as_such_but_not_kept(
    make: Make, registry: CollectorRegistry
) -> None:
    pipeline = make(InProcess(length_limited))
    for _ in range(2):
        (translation,) = (await pipeline.translate(asking("red shoes"), {})).translations
        assert translation.cache is MISS
        assert translation.finish_reason is FinishReason.LENGTH
        assert translation.text
    assert registry.get_sample_value("yiwen_transformer_guard_failures_total", {"kind": "length"}) == 2


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.REPETITION])
async def test_a_cut_answer_does_not_end_in_half_a_character(
    make: Make, tokenizer: PromptEncoder, reason: FinishReason
) -> None:
    (encoded,) = tokenizer.encode([PromptText("ab 😀", "en", "zh")], None)
    cut = encoded.token_ids[1:-2]
    assert tokenizer.decode(cut).endswith("\ufffd")
    predictor = InProcess(lambda r: answer_with(r, lambda _: Generation(cut, -0.2, reason)))
    assert translated(await make(predictor).translate(asking("red shoes"), {})) == ["ab"]


async def test_a_short_text_does_not_profit_from_a_long_neighbours_budget(make: Make) -> None:
    pipeline = make(InProcess(length_limited))
    (alone,) = (await pipeline.translate(asking("red shoes"), {})).translations
    beside = (await pipeline.translate(asking("red shoes", "hello world " * 12), {})).translations[0]
    assert beside.text == alone.text


async def test_what_was_finished_before_the_deadline_is_kept_and_the_request_fails(make: Make) -> None:
    reasons = iter([FinishReason.STOP, FinishReason.DEADLINE])
    predictor = InProcess(
        lambda r: answer_with(
            r, lambda prompt: Generation(prompt[1:-1], -0.5, next(reasons, FinishReason.STOP))
        )
    )
    pipeline = make(predictor)
    with pytest.raises(PredictorTooLate, match=r"within 3 s"):
        await pipeline.translate(asking("one", "two", deadline_ms=3_000), {})
    response = await pipeline.translate(asking("one", "two"), {})
    assert statuses(response) == [HIT, MISS]


async def test_the_time_spent_here_is_taken_off_the_predictors(make: Make) -> None:
    clock, predictor = StoppedClock(), InProcess()
    await make(predictor, SlowCache(clock, 0.75), clock=clock).translate(asking("one", deadline_ms=1_000), {})
    assert predictor.requests[0].deadline_ms == 250


async def test_a_deadline_that_is_over_makes_no_call(make: Make) -> None:
    clock, predictor = StoppedClock(), InProcess()
    pipeline = make(predictor, SlowCache(clock, 1.0), clock=clock)
    with pytest.raises(PredictorTooLate):
        await pipeline.translate(asking("one", deadline_ms=1_000), {})
    assert predictor.requests == []


@pytest.mark.parametrize("deadline_ms", [None, 3_600_000])
async def test_the_servers_longest_deadline_holds_for_all(make: Make, deadline_ms: int | None) -> None:
    predictor = InProcess()
    await make(predictor).translate(TranslateRequest(("one",), (None,), ("zh",), deadline_ms=deadline_ms), {})
    sent = predictor.requests[0].deadline_ms
    assert sent is not None
    assert 4_000 < sent <= 5_000


async def test_ids_of_another_release_are_never_decoded_or_kept(make: Make) -> None:
    cache = LruCache(1_000_000)
    predictor = InProcess(lambda r: GenerateResponse(echo(r).generations, "fedcba9876543210"))
    with pytest.raises(ReleaseMismatch) as caught:
        await make(predictor, cache).translate(asking("one"), {})
    assert caught.value.serving == "fedcba9876543210"
    assert len(cache) == 0


async def test_an_answer_for_fewer_prompts_is_a_fault_of_ours(make: Make) -> None:
    predictor = InProcess(lambda r: GenerateResponse(echo(r).generations[:1], RELEASE))
    with pytest.raises(PredictorFault, match="1 of 2"):
        await make(predictor).translate(asking("one", "two"), {})


async def test_the_callers_bound_reaches_the_predictor_and_separates_cache_entries(make: Make) -> None:
    predictor = InProcess()
    pipeline = make(predictor)
    await pipeline.translate(asking("one", max_new_tokens=7), {})
    response = await pipeline.translate(asking("one"), {})
    assert statuses(response) == [MISS]
    assert [request.max_new_tokens for request in predictor.requests] == [(7,), (16 + 3 * 2,)]


@pytest.mark.parametrize("error", [Overloaded("full", retry_after_s=3), NotReady("starting")])
async def test_the_predictors_refusal_reaches_the_caller(make: Make, error: Exception) -> None:
    def refuse(_: GenerateRequest) -> GenerateResponse:
        raise error

    with pytest.raises(type(error)) as caught:
        await make(InProcess(refuse)).translate(asking("one"), {})
    assert caught.value is error


async def test_the_predictors_absence_does_not_hold_up_hits(make: Make) -> None:
    predictor = InProcess()
    pipeline = make(predictor)
    await pipeline.translate(asking("one"), {})

    def refuse(_: GenerateRequest) -> GenerateResponse:
        raise NotReady("gone")

    predictor.answer = refuse
    assert statuses(await pipeline.translate(asking("one"), {})) == [HIT]


async def test_bad_texts_are_named_by_their_place_in_the_request(make: Make) -> None:
    pipeline = make(InProcess())
    with pytest.raises(UnknownLanguage, match="text 1"):
        await pipeline.translate(TranslateRequest(("手机", "手机"), ("zh", "xx"), ("en", "en")), {})
    with pytest.raises(TextTooLong, match="text 2"):
        await pipeline.translate(asking("one", "two", "é" * 150, source="en"), {})


async def test_a_text_whose_source_is_its_target_is_its_own_translation(make: Make) -> None:
    pipeline = make(InProcess())
    answer = await pipeline.translate(TranslateRequest(("手机", "one"), ("zh", "en-US"), ("en", "en")), {})
    assert statuses(answer) == [MISS, CacheStatus.BYPASS]
    assert (answer.translations[1].text, answer.translations[1].source) == ("one", "en")


@pytest.fixture
def frozen_heap() -> None:
    """The garbage collector leaves out what the tests before hold, as what was collected (``tests/conftest.py``)."""
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("frozen_heap")
async def test_a_large_request_leaves_the_event_loop_to_others(make: Make) -> None:
    pipeline = make(InProcess(), NullCache())
    # Processor time of the event loop's thread: that of other processes is no gap.
    longest_gap, last, running = 0.0, time.thread_time(), True

    async def watch() -> None:
        nonlocal longest_gap, last
        while running:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest_gap, last = max(longest_gap, now - last), now

    watching = asyncio.create_task(watch())
    texts = [f"number {n} of many red shoes for women and men" for n in range(2_000)]
    response = await pipeline.translate(asking(*texts), {})
    running = False
    await watching
    assert translated(response) == texts
    assert longest_gap < 0.5


async def test_texts_are_counted_by_pair_and_by_where_they_came_from(
    make: Make, registry: CollectorRegistry
) -> None:
    await make(InProcess()).translate(asking("one", "one", "手机", "12"), {})

    def segments(source: str, cache: str) -> float | None:
        labels = {"source": source, "target": "zh", "cache": cache}
        return registry.get_sample_value("yiwen_transformer_segments_total", labels)

    assert [
        segments("en", "miss"),
        segments("en", "shared"),
        segments("zh", "bypass"),
        segments("und", "bypass"),
    ] == [1] * 4
    labels = {"source": "en", "target": "zh"}
    characters = [
        registry.get_sample_value("yiwen_transformer_characters_total", labels | {"cache": cache})
        for cache in ("miss", "shared")
    ]
    assert characters == [3, 3]


def errors(response: TranslateResponse) -> list[str | None]:
    return [None if each.error is None else each.error.code.value for each in response.translations]


LONG = "é" * 150
BAD = ("\ud800", "Привет мир", LONG)


async def test_the_good_texts_are_answered_beside_the_errors_of_the_others(
    make: Make, registry: CollectorRegistry
) -> None:
    predictor = InProcess()
    texts = ("red shoes", *BAD, "red shoes", LONG, "blue")
    response = await make(predictor).translate(asking(*texts, on_error=OnError.PER_TEXT), {})
    assert errors(response) == [
        None, "invalid_text", "language_undetected", "text_too_long", None, "text_too_long", None,
    ]  # fmt: skip
    good = [each.text for each in response.translations if each.error is None]
    assert good == ["red shoes", "red shoes", "blue"]
    for each in response.translations:
        if each.error is not None:
            assert (each.text, each.confidence, each.cache) == ("", 0.0, CacheStatus.NONE)
            assert not each.error.message.startswith("text ")
            assert not any(text in each.error.message for text in texts)
    assert [len(request.prompts) for request in predictor.requests] == [2]
    labels = {"code": "text_too_long"}
    assert registry.get_sample_value("yiwen_transformer_text_errors_total", labels) == 2


@pytest.mark.parametrize("bad", BAD)
async def test_by_default_one_bad_text_fails_the_request(make: Make, bad: str) -> None:
    predictor = InProcess()
    with pytest.raises(YiwenError, match="text 1: "):
        await make(predictor).translate(asking("red shoes", bad), {})
    assert predictor.requests == []


async def test_languages_and_markup_are_errors_of_their_text(make: Make) -> None:
    request = TranslateRequest(
        ("red", "<b>red", "red"), ("en", "en", "en"), ("zh", "zh", "fr"), text_format=TextFormat.XML,
        on_error=OnError.PER_TEXT,
    )  # fmt: skip
    response = await make(InProcess()).translate(request, {})
    assert errors(response) == [None, "invalid_markup", "language_unknown"]


def cutting(cut: Callable[[int], bool]) -> Callable[[GenerateRequest], GenerateResponse]:
    """Answers as :func:`echo`, but the prompts whose number is ``cut`` are cut by the deadline."""

    def answer(request: GenerateRequest) -> GenerateResponse:
        whole = echo(request)
        generations = tuple(
            replace(each, finish_reason=FinishReason.DEADLINE) if cut(number) else each
            for number, each in enumerate(whole.generations)
        )
        return replace(whole, generations=generations)

    return answer


async def test_texts_that_the_deadline_cuts_fail_alone(make: Make) -> None:
    pipeline = make(InProcess(cutting(lambda number: number == 1)))
    request = asking("one", "two", "three", on_error=OnError.PER_TEXT, deadline_ms=300)
    response = await pipeline.translate(request, {})
    assert errors(response) == [None, "deadline_exceeded", None]
    assert statuses(await pipeline.translate(asking("one", "three"), {})) == [HIT, HIT]


async def test_a_deadline_that_leaves_nothing_fails_the_request(make: Make) -> None:
    pipeline = make(InProcess(cutting(lambda _: True)))
    with pytest.raises(PredictorTooLate):
        await pipeline.translate(asking("one", "two", on_error=OnError.PER_TEXT, deadline_ms=300), {})


@pytest.mark.parametrize("error", [Overloaded("full", retry_after_s=3), NotReady("starting")])
async def test_an_error_of_the_whole_request_stays_one(make: Make, error: YiwenError) -> None:
    def refuse(_: GenerateRequest) -> GenerateResponse:
        raise error

    with pytest.raises(type(error)):
        await make(InProcess(refuse)).translate(asking("one", LONG, on_error=OnError.PER_TEXT), {})


async def test_requests_that_share_a_bad_text_each_get_their_own_error(make: Make) -> None:
    pipeline = make(InProcess())
    modes = (OnError.PER_TEXT, OnError.FAIL) * 5
    results = await asyncio.gather(
        *(
            pipeline.translate(asking(f"own {number}", LONG, on_error=mode), {})
            for number, mode in enumerate(modes)
        ),
        return_exceptions=True,
    )
    for mode, result in zip(modes, results, strict=True):
        if mode is OnError.FAIL:
            assert isinstance(result, TextTooLong)
        else:
            assert isinstance(result, TranslateResponse)
            assert errors(result) == [None, "text_too_long"]


def shorter_by_seed(request: GenerateRequest) -> GenerateResponse:
    """Greedily each prompt's own text; sampled, without the last ``seed`` % 3 tokens."""
    cut = request.params.seed % 3 if request.params.temperature else 0
    return answer_with(
        request, lambda prompt: Generation(prompt[1 : len(prompt) - 1 - cut], -0.5, FinishReason.STOP)
    )


async def test_alternatives_are_other_texts_and_none_twice(make: Make) -> None:
    predictor = InProcess(shorter_by_seed)
    pipeline = make(predictor)
    response = await pipeline.translate(asking("red shoes and hats", "12", alternatives=3), {})
    (first, number) = response.translations
    assert first.text == "red shoes and hats"
    assert len(first.alternatives) == 2  # a third one does not come in six samples
    assert len({first.text, *first.alternatives}) == 3
    assert number.alternatives == ()
    sampled = [request.params for request in predictor.requests if request.params.temperature]
    assert [params.seed for params in sampled] == [1, 2, 3, 4, 5, 6]
    again = await pipeline.translate(asking("red shoes and hats", alternatives=1), {})
    assert statuses(again) == [HIT]  # an alternative is not cached in its place
    assert len(again.translations[0].alternatives) == 1


async def test_alternatives_of_several_sentences_are_put_together_as_the_first_is(make: Make) -> None:
    pipeline = make(InProcess(shorter_by_seed))
    response = await pipeline.translate(
        asking("Red shoes. <b>A hat</b>.", text_format=TextFormat.HTML, alternatives=2), {}
    )
    (found,) = response.translations
    assert found.alternatives
    assert all(each.count("<b>") == each.count("</b>") == 1 for each in found.alternatives)


async def test_a_predictor_that_does_not_answer_leaves_alternatives_out(make: Make) -> None:
    def answer(request: GenerateRequest) -> GenerateResponse:
        if request.params.temperature:
            raise Overloaded("busy", retry_after_s=1.0)
        return echo(request)

    response = await make(InProcess(answer)).translate(asking("red shoes", alternatives=2), {})
    assert (translated(response), response.translations[0].alternatives) == (["red shoes"], ())
