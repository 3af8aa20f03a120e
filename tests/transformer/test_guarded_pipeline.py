"""Flagged answers: tried once more, returned with their flags, never cached."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import pytest
from prometheus_client import CollectorRegistry

from protocol.errors import Overloaded
from protocol.messages import (
    CacheStatus,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    TranslateRequest,
)
from protocol.release import GuardSpec, TranslationSpec
from tests.transformer.predictor_stand_in import RELEASE, answer_with
from transformer.cache import LruCache
from transformer.generation import Generator
from transformer.guards import Guards
from transformer.languages import Languages
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.tokenizer import PromptTokenizer, TextToEncode

HIT, MISS = CacheStatus.HIT, CacheStatus.MISS


class Scripted:
    """Continues prompts with the ids of what ``translate`` makes of their texts."""

    def __init__(self, tokenizer: PromptTokenizer, translate: Callable[[str, GenerateRequest], str]) -> None:
        self.tokenizer = tokenizer
        self.translate = translate
        self.requests: list[GenerateRequest] = []

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        self.requests.append(request)
        return answer_with(request, lambda prompt: self._continue(prompt, request))

    def _continue(self, prompt: tuple[int, ...], request: GenerateRequest) -> Generation:
        answer = self.translate(self.tokenizer.decode(prompt[1:-1]), request)
        if not answer:
            return Generation((), -0.5, FinishReason.STOP)
        (encoded,) = self.tokenizer.encode([TextToEncode(0, answer, "en", "zh")], None)
        return Generation(encoded.token_ids[1:-1], -0.5, FinishReason.STOP)


Make = Callable[[Callable[[str, GenerateRequest], str]], "tuple[Pipeline, Scripted]"]


@pytest.fixture
def make(spec: TranslationSpec, tokenizer: PromptTokenizer, metrics: TransformerMetrics) -> Make:
    strict = dataclasses.replace(spec, guards=GuardSpec())

    def _make(translate: Callable[[str, GenerateRequest], str]) -> tuple[Pipeline, Scripted]:
        predictor = Scripted(tokenizer, translate)
        pipeline = Pipeline(
            release=RELEASE,
            bounds=Bounds(max_texts=100, max_deadline_ms=5_000),
            languages=Languages(strict),
            tokenizer=tokenizer,
            cache=LruCache(1_000_000),
            generator=Generator(
                release=RELEASE,
                tokenizer=tokenizer,
                guards=Guards(strict),
                predictor=predictor,
                metrics=metrics,
            ),
            metrics=metrics,
        )
        return pipeline, predictor

    return _make


def asking(*texts: str, max_new_tokens: int | None = None) -> TranslateRequest:
    return TranslateRequest(texts, ("en",) * len(texts), ("zh",) * len(texts), max_new_tokens)


async def test_a_second_attempt_with_a_little_chance_replaces_a_loop(
    make: Make, registry: CollectorRegistry
) -> None:
    def translate(text: str, request: GenerateRequest) -> str:
        return "红色的鞋" if request.params.temperature else "红鞋" * 10

    pipeline, predictor = make(translate)
    (answer,) = (await pipeline.translate(asking("red shoes"), {})).translations
    assert (answer.text, answer.flags, answer.cache) == ("红色的鞋", (), MISS)
    assert [request.params.temperature > 0 for request in predictor.requests] == [False, True]
    (again,) = (await pipeline.translate(asking("red shoes"), {})).translations
    assert (again.text, again.cache) == ("红色的鞋", HIT)
    labels = {"kind": "repetition"}
    assert registry.get_sample_value("yiwen_transformer_guard_failures_total", labels) == 1


async def test_what_stays_doubtful_is_returned_with_its_flags_and_never_cached(make: Make) -> None:
    pipeline, predictor = make(lambda text, _: "" if text == "red shoes" else "好")
    for calls in (2, 4):
        response = await pipeline.translate(asking("red shoes", "hello"), {})
        assert [each.flags for each in response.translations] == [("empty",), ()]
        assert len(predictor.requests) == calls
    assert [each.cache for each in response.translations] == [MISS, HIT]


async def test_only_what_is_doubtful_is_tried_again(make: Make) -> None:
    pipeline, predictor = make(lambda text, _: "" if text == "red shoes" else "好")
    await pipeline.translate(asking("hello", "red shoes", "world"), {})
    assert [len(request.prompts) for request in predictor.requests] == [3, 1]


async def test_a_lost_placeholder_is_masked_and_comes_back_byte_for_byte(make: Make) -> None:
    def translate(text: str, request: GenerateRequest) -> str:
        return "鞋" if "{" in text else text.replace("shoes for", "鞋")

    pipeline, predictor = make(translate)
    (answer,) = (await pipeline.translate(asking("shoes for {user.name}"), {})).translations
    assert (answer.text, answer.flags) == ("鞋 {user.name}", ())
    assert len(predictor.requests) == 2
    assert predictor.requests[1].params.temperature == 0


async def test_a_placeholder_that_no_mask_saves_is_flagged(make: Make) -> None:
    pipeline, _ = make(lambda text, _: "鞋")
    for _ in range(2):
        (answer,) = (await pipeline.translate(asking("shoes for {user.name}"), {})).translations
        assert (answer.text, answer.flags, answer.cache) == ("鞋", ("placeholder",), MISS)


async def test_the_masks_number_never_passes_for_the_texts(make: Make) -> None:
    """The first mask ends in 10; a number 10 that was lost must not be found there."""
    pipeline, _ = make(lambda text, _: "鞋" if "10" in text and "cm" in text else f"{text}{text}")
    (answer,) = (await pipeline.translate(asking("shoes of 10 cm"), {})).translations
    assert answer.flags == ("placeholder",)


async def test_an_answer_that_the_caller_bounded_is_not_drawn_again(make: Make) -> None:
    pipeline, predictor = make(lambda *_: "")
    predictor_generate = predictor.generate

    async def cut(request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        answer = await predictor_generate(request, headers)
        cut_short = [
            dataclasses.replace(each, finish_reason=FinishReason.LENGTH) for each in answer.generations
        ]
        return GenerateResponse(tuple(cut_short), answer.release)

    predictor.generate = cut  # type: ignore[method-assign]
    (answer,) = (await pipeline.translate(asking("red shoes", max_new_tokens=2), {})).translations
    assert answer.flags == ("empty", "length")
    assert len(predictor.requests) == 1


async def test_a_second_attempt_that_fails_leaves_the_first_answer(make: Make) -> None:
    def translate(text: str, request: GenerateRequest) -> str:
        if request.params.temperature:
            raise Overloaded("full", retry_after_s=1)
        return ""

    pipeline, _ = make(translate)
    (answer,) = (await pipeline.translate(asking("red shoes"), {})).translations
    assert answer.flags == ("empty",)


async def test_sentences_are_cached_each_on_its_own_and_told_as_one(make: Make) -> None:
    words = {"It is red.": "红的。", "I like it!": "喜欢！", "It is blue.": ""}
    pipeline, _ = make(lambda text, _: words[text])
    await pipeline.translate(asking("It is red."), {})
    response = await pipeline.translate(asking("It is red.  I like it!\n", "It is blue. It is red."), {})
    first, second = response.translations
    assert (first.text, first.cache, first.flags) == ("红的。  喜欢！\n", MISS, ())
    assert (second.text, second.cache, second.flags) == (" 红的。", MISS, ("empty",))
    (again,) = (await pipeline.translate(asking("I like it! It is red."), {})).translations
    assert (again.text, again.cache) == ("喜欢！ 红的。", HIT)
    assert 0 < again.confidence < 1
