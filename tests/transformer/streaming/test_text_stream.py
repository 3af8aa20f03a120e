"""Streams of text from a whole model, over real connections to a stand-in for the predictor."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from protocol.errors import DeadlineExceeded, InvalidRequest, NotFound, Overloaded, ReleaseMismatch
from protocol.messages import FinishReason, GenerateRequest, GenerateResponse, Generation
from protocol.priority import urgency_for, urgency_of
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.proto.yiwen.v1 import generation_pb2 as pb
from serving.model import NamedEvent, RequestInfo
from tests.transformer.predictor_stand_in import RELEASE, answer_with, serve
from tests.transformer.predictors.test_client import wait_until
from tests.transformer.release import TRANSLATION
from tests.transformer.streaming_stand_in import StreamingStandIn
from transformer.config import TransformerConfig
from transformer.metrics import TransformerMetrics
from transformer.model import TranslatorModel, create_model

STREAM, INFER = "/v2/models/tiny/generate_stream", "/v2/models/tiny/infer"


@pytest.fixture
def predictor() -> Iterator[StreamingStandIn]:
    with serve(StreamingStandIn()) as served:
        assert isinstance(served, StreamingStandIn)
        yield served


@pytest.fixture
async def model(
    release_directory: Path, tmp_path: Path, predictor: StreamingStandIn
) -> AsyncIterator[TranslatorModel]:
    """With all guards, and a second attempt."""
    directory = tmp_path / "strict"
    shutil.copytree(release_directory, directory)
    guards = {"checks": ["empty", "length", "placeholder", "glossary"], "retries": 1}
    (directory / "translation.json").write_text(json.dumps(TRANSLATION | {"guards": guards}))
    async with aclosing(opened(directory, predictor.url)) as models:
        async for made in models:
            yield made


async def opened(directory: Path, url: str, **settings: Any) -> AsyncGenerator[TranslatorModel, None]:
    config = TransformerConfig(release=directory, predictor_url=url, **settings)
    metrics = TransformerMetrics(CollectorRegistry())
    made = create_model(config, name=None, max_deadline_ms=20_000, metrics=metrics)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def call() -> RequestInfo:
    return RequestInfo("r-1", {}, "rest")


def body(text: str, **parameters: object) -> bytes:
    return orjson.dumps({"text_input": text, "parameters": {"source": "en", "target": "zh", **parameters}})


async def streamed(model: TranslatorModel, text: str, **parameters: object) -> list[Mapping[str, Any]]:
    events = [event async for event in model.stream(body(text, **parameters), call())]
    assert not any(isinstance(event, NamedEvent) for event in events)
    return events  # type: ignore[return-value]


def joined(events: list[Mapping[str, Any]]) -> str:
    return "".join(event["text_output"] for event in events)


def continued(tokenizer: PromptEncoder, answers: Mapping[str, str]) -> Callable[..., GenerateResponse]:
    """Answers by text; what is not among them is its own."""

    def generate(prompt: tuple[int, ...]) -> Generation:
        text = tokenizer.decode(prompt[1:-1])
        (encoded,) = tokenizer.encode([PromptText(answers.get(text, text), "en", "zh")], None)
        return Generation(encoded.token_ids[1:-1], -0.5, FinishReason.STOP)

    return lambda request: answer_with(request, generate)


async def test_a_sentence_comes_while_it_is_generated(
    model: TranslatorModel, predictor: StreamingStandIn
) -> None:
    predictor.hold_at = 3
    async with aclosing(model.stream(body("hello world, and all"), call())) as events:
        first = await anext(events)
        assert first["text_output"]  # type: ignore[index]
        predictor.go_on.set()
        rest = [event async for event in events]
    assert joined([first, *rest]) == "hello world, and all"  # type: ignore[list-item]
    last = rest[-1]
    assert {name: last[name] for name in ("done", "cache", "flags", "finish_reason")} == {  # type: ignore[index]
        "done": True,
        "cache": "miss",
        "flags": [],
        "finish_reason": "stop",
    }


async def test_sentences_are_generated_together_and_sent_in_order(
    model: TranslatorModel, predictor: StreamingStandIn, tokenizer: PromptEncoder
) -> None:
    predictor.answer = continued(tokenizer, {"One and more of it.": "A very long one indeed.", "Two.": "b."})
    events = await streamed(model, " One and more of it.\n\nTwo. Two. Three ")
    assert joined(events) == " A very long one indeed.\n\nb. b. Three "
    assert predictor.paths == [STREAM]
    assert len(predictor.requests[0].prompts) == 3
    assert events[-1]["usage"]["segments"] == 4
    generated = predictor.answer(predictor.requests[0])
    assert events[-1]["usage"]["generated_tokens"] == sum(len(g.token_ids) for g in generated.generations)


async def test_a_stream_that_is_cut_does_not_end_in_half_a_character(
    model: TranslatorModel, predictor: StreamingStandIn, tokenizer: PromptEncoder
) -> None:
    (encoded,) = tokenizer.encode([PromptText("hello 😀", "en", "zh")], None)
    cut = Generation(encoded.token_ids[1:-2], -0.5, FinishReason.LENGTH)
    assert tokenizer.decode(cut.token_ids).endswith("\ufffd")
    predictor.answer = lambda request: answer_with(request, lambda _: cut)
    assert joined(await streamed(model, "hello world, and all")) == "hello"
    whole = await model.generate(body("hello world, and more"), call())
    assert whole["text_output"] == "hello"


async def test_sentences_share_streams_of_the_group_size(
    release_directory: Path, predictor: StreamingStandIn, tokenizer: PromptEncoder
) -> None:
    predictor.answer = continued(tokenizer, {"One.": "A very long one indeed."})
    settings = {"predictor_group_size": 2, "predictor_groups_in_flight": 1}
    async with aclosing(opened(release_directory, predictor.url, **settings)) as models:
        async for model in models:
            events = await streamed(model, "One. Two. Three. Four. Five.")
    assert joined(events) == "A very long one indeed. Two. Three. Four. Five."
    assert [len(request.prompts) for request in predictor.requests] == [2, 2, 1]


async def test_a_placeholder_is_verified_before_it_is_sent_and_tried_again(
    model: TranslatorModel, predictor: StreamingStandIn, tokenizer: PromptEncoder
) -> None:
    predictor.answer = continued(tokenizer, {"Hi {name} there.": "lost"})
    *deltas, last = await streamed(model, "Hi {name} there. Bye.")
    assert joined(deltas) == "Hi {name} there. Bye."
    assert last["flags"] == []
    assert predictor.paths == [STREAM, INFER]
    assert (await streamed(model, "Hi {name} there. Bye."))[-1]["cache"] == "hit"


async def test_a_second_attempt_is_sent_while_the_rest_is_generated(
    model: TranslatorModel, predictor: StreamingStandIn, tokenizer: PromptEncoder
) -> None:
    predictor.answer = continued(tokenizer, {"Hi {name} there.": "lost"})
    predictor.hold_at = 12  # behind the end of the first answer, before that of the second
    rest = "A line that is so long that it is not yet done."
    async with aclosing(model.stream(body(f"Hi {{name}} there.\n{rest}"), call())) as events:
        first = await asyncio.wait_for(anext(events), 10)
        begun = str(first["text_output"])  # type: ignore[index]
        assert begun.startswith("Hi {name} there.\n")
        assert rest not in begun
        predictor.go_on.set()
        others = [event async for event in events]
    assert joined([first, *others]) == f"Hi {{name}} there.\n{rest}"  # type: ignore[list-item]
    assert predictor.paths == [STREAM, INFER]
    (again,) = predictor.headers  # of what was no stream
    assert urgency_of(again) == urgency_for(is_bulk=False, is_second_attempt=True)


async def test_a_text_that_is_out_when_a_guard_objects_is_flagged_and_not_cached(
    model: TranslatorModel, predictor: StreamingStandIn
) -> None:
    predictor.answer = lambda request: answer_with(
        request, lambda prompt: Generation(prompt[1:-1], -0.5, FinishReason.LENGTH)
    )
    for _ in range(2):
        events = await streamed(model, "red shoes")
        assert joined(events) == "red shoes"
        last = events[-1]
        assert (last["flags"], last["finish_reason"], last["cache"]) == (["length"], "length", "miss")
    assert predictor.paths == [STREAM, STREAM]


async def test_markup_comes_segment_by_segment(model: TranslatorModel, predictor: StreamingStandIn) -> None:
    page = "<p>One &lt;</p><br><p>and two, which is a much longer one</p>"
    predictor.hold_at = 6
    async with aclosing(model.stream(body(page, format="html"), call())) as events:
        first = await anext(events)
        assert first["text_output"] == "<p>One &lt;"  # type: ignore[index]
        predictor.go_on.set()
        rest = [event async for event in events]
    assert [event["text_output"] for event in rest] == [page.removeprefix("<p>One &lt;"), ""]  # type: ignore[index]


async def test_a_text_in_flight_is_waited_for_and_not_generated_again(
    model: TranslatorModel, predictor: StreamingStandIn
) -> None:
    predictor.delay_s = 0.3
    first = asyncio.create_task(model.generate(body("hello world"), call()))
    await wait_until(lambda: predictor.requests)
    events = await streamed(model, "hello world")
    assert joined(events) == (await first)["text_output"]
    assert events[-1]["cache"] == "shared"
    assert events[-1]["usage"]["generated_tokens"] == 0
    assert predictor.paths == [INFER]


@pytest.mark.parametrize(("text", "text_format"), [("red shoes", "text"), ("<b>red shoes</b>", "html")])
async def test_a_failure_before_the_first_text_comes_before_any_event(
    model: TranslatorModel, predictor: StreamingStandIn, text: str, text_format: str
) -> None:
    def refuse(request: GenerateRequest) -> GenerateResponse:
        raise Overloaded("no room", retry_after_s=3)

    predictor.answer = refuse
    async with aclosing(model.stream(body(text, format=text_format), call())) as events:
        with pytest.raises(Overloaded):
            await anext(events)


async def test_a_hit_is_sent_before_a_miss_is_there(
    model: TranslatorModel, predictor: StreamingStandIn
) -> None:
    await streamed(model, "One.")
    predictor.hold_at = 0
    async with aclosing(model.stream(body("One. Two."), call())) as events:
        assert (await anext(events))["text_output"] == "One. "  # type: ignore[index]
        predictor.go_on.set()
        assert [event["text_output"] async for event in events][-1] == ""  # type: ignore[index]


async def test_a_disconnect_closes_the_predictors_connection_and_caches_nothing(
    model: TranslatorModel, predictor: StreamingStandIn
) -> None:
    predictor.hold_at = 3
    async with aclosing(model.stream(body("hello world, and all"), call())) as events:
        await anext(events)
    left = time.monotonic()
    await wait_until(lambda: predictor.left_at)
    assert predictor.left_at is not None
    assert predictor.left_at - left < 5.0
    predictor.go_on.set()
    assert (await streamed(model, "hello world, and all"))[-1]["cache"] == "miss"


@pytest.mark.parametrize(
    ("reason", "release", "error"),
    [
        (FinishReason.DEADLINE, RELEASE, DeadlineExceeded),
        (FinishReason.STOP, "f" * 16, ReleaseMismatch),
    ],
)
async def test_a_stream_that_ends_wrongly_says_so(
    model: TranslatorModel,
    predictor: StreamingStandIn,
    reason: FinishReason,
    release: str,
    error: type[Exception],
) -> None:
    predictor.answer = lambda request: GenerateResponse((Generation((5, 6), -0.5, reason),), release)
    with pytest.raises(error):
        await streamed(model, "hello world")


async def test_a_stream_says_that_it_waits_for_a_predictor_that_is_being_started(
    release_directory: Path,
) -> None:
    with serve(StreamingStandIn()) as gone:
        port = int(gone.url.rsplit(":", 1)[1])
    async with aclosing(opened(release_directory, gone.url)) as models:
        async for model in models:
            async with aclosing(model.stream(body("red shoes"), call())) as events:
                first = await anext(events)
                assert isinstance(first, NamedEvent)
                assert first.name == "warming"
                assert first.document["waited_s"] == pytest.approx(0, abs=0.5)
                with serve(StreamingStandIn(), port):
                    texts = [event async for event in events if not isinstance(event, NamedEvent)]
            assert joined(texts) == "red shoes"


def message(text: str, **fields: Any) -> bytes:
    request = pb.TextStreamRequest(**{"model_name": "tiny", "text_input": text, "target": "zh", **fields})
    data: bytes = request.SerializeToString()
    return data


async def test_messages_say_what_events_say(model: TranslatorModel) -> None:
    text = "hello world. Red shoes."
    events = await streamed(model, text)
    parts = [
        pb.TextStreamResponse.FromString(part) async for part in model.stream_messages(message(text), call())
    ]
    assert "".join(part.text_output for part in parts) == joined(events) == text
    assert [part.HasField("end") for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (parts[-1].end.cache, parts[-1].end.release, parts[-1].end.source) == ("hit", RELEASE, "en")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model_name": "other"}, NotFound),
        ({"model_version": "1"}, NotFound),
        ({"target": ""}, InvalidRequest),
        ({"max_new_tokens": 0}, InvalidRequest),
        ({"format": "pdf"}, InvalidRequest),
    ],
)
async def test_a_message_that_asks_for_what_is_not_there_is_refused(
    model: TranslatorModel, fields: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await anext(model.stream_messages(message("red shoes", **fields), call()))


async def test_the_log_line_says_what_a_text_took(model: TranslatorModel) -> None:
    asked = call()
    async for _ in model.stream(body("One. Two."), asked):
        pass
    assert asked.log_fields["segments"] == 2
    assert asked.log_fields["miss"] == 1
    asked = call()
    await model.generate(body("One. Two."), asked)
    assert (asked.log_fields["generated_tokens"], asked.log_fields["hit"]) == (0, 1)


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ("<target>红<s1>鞋</s1></target>", ["red shoes", "tagged: red <s1>shoes</s1>"]),
        ("<target>红鞋</target>", ["red shoes", "tagged: red <s1>shoes</s1>", "shoes"]),
        ("<s1></s1>", ["red shoes", "tagged: red <s1>shoes</s1>", "shoes"]),
    ],
)
async def test_a_model_that_was_trained_with_tags_is_shown_them(
    release_directory: Path,
    tmp_path: Path,
    predictor: StreamingStandIn,
    tokenizer: PromptEncoder,
    answer: str,
    asked: list[str],
) -> None:
    tags = {"opening": "<s{number}>", "closing": "</s{number}>", "before": "<target>", "after": "</target>"}
    directory = tmp_path / "tagged"
    shutil.copytree(release_directory, directory)
    guards = {"checks": ["empty", "length", "placeholder"], "retries": 1}
    template = "{source}{#tags}tagged: {/tags}{text}{target}"
    document = json.dumps(TRANSLATION | {"guards": guards, "tags": tags, "template": template})
    (directory / "translation.json").write_text(document)
    answers = {"red shoes": "红鞋", "tagged: red <s1>shoes</s1>": answer, "shoes": "鞋"}
    predictor.answer = continued(tokenizer, answers)
    page = "<p>red <b>shoes</b></p>"
    async with aclosing(opened(directory, predictor.url)) as models:
        async for model in models:
            events = await streamed(model, page, format="html")
            assert (joined(events), events[-1]["flags"]) == ("<p>红<b>鞋</b></p>", [])
            prompts = [prompt for request in predictor.requests for prompt in request.prompts]
            assert [tokenizer.decode(prompt[1:-1]) for prompt in prompts] == asked
            whole = await model.generate(body(page, format="html"), call())
            assert (whole["text_output"], whole["flags"]) == ("<p>红<b>鞋</b></p>", [])
