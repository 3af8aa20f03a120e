"""Flagged answers: tried once more, returned with their flags, never cached."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping

import pytest
from prometheus_client import CollectorRegistry

from protocol.errors import InvalidRequest, Overloaded
from protocol.messages import (
    CacheStatus,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    Glossary,
    TranslateRequest,
)
from protocol.priority import DEFAULT_URGENCY
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.translation_spec import GuardSpec, TranslationSpec
from tests.transformer.generators import ONE_GROUP, create_generator
from tests.transformer.predictor_stand_in import RELEASE, answer_with
from transformer.cache.memory import LruCache
from transformer.generation.groups import Grouping
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.texts.bounds import TextBounds
from transformer.texts.guards import MAX_REPEATS, Guards
from transformer.texts.languages import Languages

HIT, MISS = CacheStatus.HIT, CacheStatus.MISS


class Scripted:
    """Continues prompts with the ids of what ``translate`` makes of their texts."""

    def __init__(self, tokenizer: PromptEncoder, translate: Callable[[str, GenerateRequest], str]) -> None:
        self.tokenizer = tokenizer
        self.translate = translate
        self.requests: list[GenerateRequest] = []

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        self.requests.append(request)
        await asyncio.sleep(0)  # as a network does
        return answer_with(request, lambda prompt: self._continue(prompt, request))

    def _continue(self, prompt: tuple[int, ...], request: GenerateRequest) -> Generation:
        answer = self.translate(self.tokenizer.decode(prompt[1:-1]), request)
        if not answer:
            return Generation((), -0.5, FinishReason.STOP)
        (encoded,) = self.tokenizer.encode([PromptText(answer, "en", "zh")], None)
        return Generation(encoded.token_ids[1:-1], -0.5, FinishReason.STOP)


Make = Callable[..., "tuple[Pipeline, Scripted]"]


@pytest.fixture
def make(spec: TranslationSpec, tokenizer: PromptEncoder, metrics: TransformerMetrics) -> Make:
    strict = dataclasses.replace(spec, guards=GuardSpec())

    def _make(
        translate: Callable[[str, GenerateRequest], str],
        grouping: Grouping = ONE_GROUP,
        admission_tokens: int = 1 << 20,
    ) -> tuple[Pipeline, Scripted]:
        predictor = Scripted(tokenizer, translate)
        pipeline = Pipeline(
            release=RELEASE,
            bounds=Bounds(TextBounds(100), max_deadline_ms=5_000),
            languages=Languages(strict),
            tokenizer=tokenizer,
            cache=LruCache(1_000_000),
            generator=create_generator(
                tokenizer,
                Guards(strict),
                predictor,
                metrics,
                grouping=grouping,
                admission_tokens=admission_tokens,
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
    first, second = predictor.requests
    assert second.urgency < first.urgency == DEFAULT_URGENCY
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


async def test_a_second_attempt_goes_ahead_of_the_rest(make: Make) -> None:
    def translate(text: str, request: GenerateRequest) -> str:
        return "红鞋" if request.params.temperature or text != "red shoes" else ""

    pipeline, predictor = make(translate, Grouping(1, 1))
    texts = ["red shoes", *(f"shoes of kind {letter}" for letter in "abcdefgh")]
    response = await pipeline.translate(asking(*texts), {})
    assert [each.flags for each in response.translations] == [()] * 9
    temperatures = [request.params.temperature for request in predictor.requests]
    assert len(temperatures) == 10
    assert 1 <= temperatures.index(0.5) <= 3


async def test_a_second_attempt_that_is_not_admitted_is_made_at_the_end(make: Make) -> None:
    def translate(text: str, request: GenerateRequest) -> str:
        return "红鞋" if request.params.temperature or text != "red shoes" else ""

    texts = ["red shoes", *(f"shoes of kind {letter}" for letter in "abcdefgh")]
    pipeline, predictor = make(translate, Grouping(1, 1), admission_tokens=1)
    response = await pipeline.translate(asking(*texts), {})
    assert [each.flags for each in response.translations] == [()] * 9
    assert predictor.requests[-1].params.temperature == 0.5
    assert len(predictor.requests) == 10


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
    assert answer.flags == ("number",)


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


def with_glossary(text: str, terms: Mapping[str, str], *keep: str) -> TranslateRequest:
    return dataclasses.replace(asking(text), glossary=Glossary(tuple(terms.items()), keep))


async def test_a_term_that_the_model_lost_is_put_in_its_place(
    make: Make, registry: CollectorRegistry
) -> None:
    pipeline, predictor = make(lambda text, _: text.replace("red", "红").replace("shoes", "鞋"))
    request = with_glossary("red shoes by AcmeCorp", {"shoes": "跑鞋"}, "AcmeCorp")
    (answer,) = (await pipeline.translate(request, {})).translations
    assert (answer.text, answer.flags, answer.cache) == ("红 跑鞋 by AcmeCorp", (), MISS)
    (again,) = (await pipeline.translate(request, {})).translations
    assert (again.text, again.cache) == ("红 跑鞋 by AcmeCorp", HIT)
    assert len(predictor.requests) == 2
    failures = "yiwen_transformer_guard_failures_total"
    assert registry.get_sample_value(failures, {"kind": "glossary"}) == 1


async def test_a_term_that_is_there_costs_no_second_attempt(make: Make) -> None:
    pipeline, predictor = make(lambda *_: "红跑鞋")
    (answer,) = (await pipeline.translate(with_glossary("red shoes", {"shoes": "跑鞋"}), {})).translations
    assert (answer.text, answer.flags) == ("红跑鞋", ())
    assert len(predictor.requests) == 1


async def test_a_term_takes_the_place_of_what_the_model_makes_of_it(make: Make) -> None:
    def translate(text: str, request: GenerateRequest) -> str:
        return {"red shoes": "红色的鞋子", "shoes": "鞋子"}.get(text, "QX10")

    pipeline, predictor = make(translate)
    request = with_glossary("red shoes", {"shoes": "跑鞋"})
    (answer,) = (await pipeline.translate(request, {})).translations
    assert (answer.text, answer.flags) == ("红色的跑鞋", ())
    assert len(predictor.requests) == 2
    assert len(predictor.requests[1].prompts) == 3


async def test_the_same_term_is_rendered_once_for_all_texts(make: Make) -> None:
    def translate(text: str, request: GenerateRequest) -> str:
        return {"shoes": "鞋子"}.get(text, text.replace("shoes", "鞋子").replace("QX10", ""))

    pipeline, predictor = make(translate)
    request = dataclasses.replace(
        asking("one shoes", "two shoes", "some shoes"), glossary=Glossary((("shoes", "跑鞋"),))
    )
    response = await pipeline.translate(request, {})
    assert [each.text for each in response.translations] == ["one 跑鞋", "two 跑鞋", "some 跑鞋"]
    assert [len(each.prompts) for each in predictor.requests] == [3, 1 + 3 * 2]


async def test_masks_that_make_a_text_too_long_cost_no_other_its_second_attempt(make: Make) -> None:
    pipeline, _ = make(lambda text, _: text.replace("shoes", "鞋") if "QX" in text else "好")
    long = "red " + " ".join(["x"] * 70)
    request = dataclasses.replace(asking(long, "red shoes {a}"), glossary=Glossary((("x", "y"),)))
    response = await pipeline.translate(request, {})
    assert [(each.text, each.flags) for each in response.translations] == [
        ("好", ("glossary",)),
        ("red 鞋 {a}", ()),
    ]


async def test_a_term_that_nothing_saves_is_flagged_and_never_cached(make: Make) -> None:
    pipeline, _ = make(lambda text, _: "鞋" if text == "shoes" else "红鞋子")
    for _ in range(2):
        request = with_glossary("red shoes", {"shoes": "跑鞋"})
        (answer,) = (await pipeline.translate(request, {})).translations
        assert (answer.text, answer.flags, answer.cache) == ("红鞋子", ("glossary",), MISS)


async def test_a_text_that_is_one_term_is_not_put_to_the_model(make: Make) -> None:
    pipeline, predictor = make(lambda *_: "红鞋子")
    request = with_glossary("Shoes.", {"shoes": "跑鞋"})
    (answer,) = (await pipeline.translate(request, {})).translations
    assert (answer.text, answer.confidence, answer.cache) == ("跑鞋.", 1.0, MISS)
    assert predictor.requests == []


async def test_a_glossary_that_does_not_touch_a_text_shares_its_cache_entry(make: Make) -> None:
    pipeline, _ = make(lambda *_: "红跑鞋")
    await pipeline.translate(asking("red shoes"), {})
    (untouched,) = (await pipeline.translate(with_glossary("red shoes", {"hat": "帽子"}), {})).translations
    assert untouched.cache is HIT
    (touched,) = (await pipeline.translate(with_glossary("red shoes", {"shoes": "跑鞋"}), {})).translations
    assert touched.cache is MISS
    more = with_glossary("red shoes", {"shoes": "跑鞋", "hat": "帽子"})
    assert (await pipeline.translate(more, {})).translations[0].cache is HIT
    other = with_glossary("red shoes", {"shoes": "鞋"})
    assert (await pipeline.translate(other, {})).translations[0].cache is MISS


async def test_a_contradicting_glossary_is_refused_before_anything_is_asked(make: Make) -> None:
    pipeline, predictor = make(lambda *_: "")
    with pytest.raises(InvalidRequest, match="contradicts itself"):
        await pipeline.translate(with_glossary("red shoes", {"shoes": "鞋"}, "shoes"), {})
    assert predictor.requests == []


async def test_the_predictor_is_told_to_stop_loops_of_texts_that_have_none(make: Make) -> None:
    pipeline, predictor = make(lambda *_: "好")
    await pipeline.translate(asking("red shoes", "ha" * 12 + " shoes"), {})
    assert [request.max_repeats for request in predictor.requests] == [(MAX_REPEATS, 0)]


async def test_an_answer_that_was_stopped_in_a_loop_is_drawn_again(make: Make) -> None:
    pipeline, predictor = make(lambda *_: "红鞋")
    generate = predictor.generate

    async def looping(request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        answer = await generate(request, headers)
        if request.params.temperature:
            return answer
        reason = FinishReason.REPETITION
        stopped = [dataclasses.replace(each, finish_reason=reason) for each in answer.generations]
        return dataclasses.replace(answer, generations=tuple(stopped))

    predictor.generate = looping  # type: ignore[method-assign]
    (answer,) = (await pipeline.translate(asking("red shoes"), {})).translations
    assert (answer.text, answer.flags, answer.finish_reason) == ("红鞋", (), FinishReason.STOP)
    assert len(predictor.requests) == 2
