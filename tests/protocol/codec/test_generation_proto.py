from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import (
    decode_text_stream_request,
    decode_token_stream_request,
    encode_text_delta,
    encode_token_delta,
    encode_warming,
)
from protocol.errors import InternalFault, InvalidRequest
from protocol.messages import (
    CacheStatus,
    FinishReason,
    Formality,
    GenerateRequest,
    GenerationEnd,
    MarkupOptions,
    SamplingParams,
    TextFormat,
    TokenDelta,
    TranslateRequest,
)
from protocol.proto.yiwen.v1 import generation_pb2 as pb
from protocol.tensors import TRANSLATE_PARAMETERS
from protocol.text_stream import TextDelta, TextEnd, Usage

PROMPT = pb.Prompt(token_ids=[3, 4], max_new_tokens=5)


def test_a_request_for_a_text_is_read_with_its_address() -> None:
    message = pb.TextStreamRequest(
        model_name="demo",
        model_version="0123",
        text_input="Mug",
        source="en",
        target="zh",
        format="xml",
        max_new_tokens=9,
        deadline_ms=50,
        context="On a shelf",
        formality="prefer_less",
    )
    read = decode_text_stream_request(message.SerializeToString())
    assert (read.model_name, read.model_version) == ("demo", "0123")
    assert read.request == TranslateRequest(
        ("Mug",),
        ("en",),
        ("zh",),
        9,
        TextFormat.XML,
        50,
        contexts=("On a shelf",),
        formality=Formality.PREFER_LESS,
    )


def test_the_parameters_of_a_request_for_a_text_are_those_of_rest() -> None:
    message = pb.TextStreamRequest(
        text_input="Mug",
        target="zh",
        format="xml",
        ignore_tags=["x", "y"],
        splitting_tags=["p"],
        non_splitting_tags=["b"],
        outline_detection=False,
        translate_attributes=True,
        translate_cdata=True,
        placeholders=["<<[a-z]+>>"],
        join_lines=True,
        split_sentences=False,
    )
    assert decode_text_stream_request(message.SerializeToString()).request == TranslateRequest(
        ("Mug",),
        (None,),
        ("zh",),
        text_format=TextFormat.XML,
        markup=MarkupOptions(frozenset("xy"), frozenset("p"), frozenset("b"), False, True, True),
        placeholders=("<<[a-z]+>>",),
        join_lines=True,
        split_sentences=False,
    )
    fields = {field.name for field in pb.TextStreamRequest.DESCRIPTOR.fields}
    assert set(TRANSLATE_PARAMETERS) <= fields


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ignore_tags": ["x"]}, "needs the parameter format"),
        ({"placeholders": [""]}, "parameter placeholders"),
        ({"format": "pdf"}, "parameter format is unknown"),
    ],
)
def test_parameters_of_a_text_that_rest_refuses_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        decode_text_stream_request(pb.TextStreamRequest(target="zh", **fields).SerializeToString())


def test_what_a_request_for_a_text_leaves_out_is_left_out() -> None:
    read = decode_text_stream_request(pb.TextStreamRequest(target="zh").SerializeToString())
    assert read.request == TranslateRequest(("",), (None,), ("zh",))


@pytest.mark.parametrize("data", [b"\xff", b"\x1a\x02\xff\xfe"], ids=["no message", "no UTF-8"])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"yiwen\.v1\.TextStreamRequest"):
        decode_text_stream_request(data)


def test_prompts_are_read_with_their_bounds() -> None:
    message = pb.TokenStreamRequest(
        model_name="demo",
        prompts=[PROMPT, pb.Prompt(token_ids=[7], max_new_tokens=2, max_repeats=8)],
        release="0123",
        deadline_ms=50,
        temperature=0.5,
        top_p=0.25,
        seed=2**40,
        top_k=7,
    )
    read = decode_token_stream_request(message.SerializeToString()).request
    assert read == GenerateRequest(
        ((3, 4), (7,)), (5, 2), SamplingParams(0.5, 0.25, 2**40, 7), "0123", 50, (0, 8)
    )


def test_what_a_request_for_tokens_leaves_out_has_its_default() -> None:
    read = decode_token_stream_request(pb.TokenStreamRequest(prompts=[PROMPT]).SerializeToString()).request
    assert read == GenerateRequest(((3, 4),), (5,))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompts": []}, "at least one prompt"),
        ({"prompts": [pb.Prompt(max_new_tokens=5)]}, "input_lengths"),
        ({"prompts": [pb.Prompt(token_ids=[-1], max_new_tokens=5)]}, "negative id"),
        ({"prompts": [pb.Prompt(token_ids=[1])]}, "max_new_tokens must be at least 1"),
        ({"prompts": [pb.Prompt(token_ids=[1], max_new_tokens=5, max_repeats=1)]}, "max_repeats"),
        ({"prompts": [PROMPT], "temperature": -1.0}, "temperature"),
        ({"prompts": [PROMPT], "top_p": math.nan}, "top_p"),
        ({"prompts": [PROMPT], "seed": -1}, "seed"),
        ({"prompts": [PROMPT], "deadline_ms": 0}, "deadline_ms"),
    ],
)
def test_what_inference_refuses_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        decode_token_stream_request(pb.TokenStreamRequest(**fields).SerializeToString())


@given(st.text(), st.sampled_from(CacheStatus), st.lists(st.sampled_from(["ratio", "empty"])))
def test_a_text_delta_is_written_whole(text: str, cache: CacheStatus, flags: list[str]) -> None:
    end = TextEnd("en", 0.5, cache, FinishReason.LENGTH, tuple(flags), "0123", Usage(2, 7), "zh-Hant")
    message = pb.TextStreamResponse.FromString(encode_text_delta(TextDelta(text, end)))
    assert message.text_output == text
    assert (message.end.source, message.end.cache, message.end.finish_reason) == ("en", cache.value, "length")
    assert (list(message.end.flags), message.end.release, message.end.confidence) == (flags, "0123", 0.5)
    assert message.end.target == "zh-Hant"
    assert (message.end.usage.segments, message.end.usage.generated_tokens) == (2, 7)
    assert not pb.TextStreamResponse.FromString(encode_text_delta(TextDelta(text))).HasField("end")


def test_a_cold_start_is_encoded() -> None:
    assert pb.TextStreamResponse.FromString(encode_warming(1.5)).warming.waited_s == 1.5


def test_a_token_delta_is_written_whole() -> None:
    delta = TokenDelta(1, (4, 5), (-0.5, -1.0), GenerationEnd(-0.75, FinishReason.STOP, "0123"))
    message = pb.TokenStreamResponse.FromString(encode_token_delta(delta))
    assert (message.index, list(message.token_ids), list(message.logprobs)) == (1, [4, 5], [-0.5, -1.0])
    assert (message.end.finish_reason, message.end.logprob, message.end.release) == ("stop", -0.75, "0123")


def test_a_log_probability_that_is_none_is_our_fault() -> None:
    with pytest.raises(InternalFault):
        encode_token_delta(TokenDelta(0, (4,), (math.nan,)))
