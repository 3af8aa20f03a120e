"""Every message type survives every wire: JSON, the binary extension, typed and raw gRPC."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codec import (
    InferRequest,
    InferResponse,
    decode_grpc_request,
    decode_grpc_response,
    decode_rest_request,
    decode_rest_response,
    encode_grpc_request,
    encode_grpc_response,
    encode_rest_request,
    encode_rest_response,
    generate_request_from_infer,
    generate_response_from_infer,
    infer_from_generate_request,
    infer_from_generate_response,
    infer_from_translate_request,
    infer_from_translate_response,
    translate_request_from_infer,
    translate_response_from_infer,
)
from protocol.codec.sdk import pb
from protocol.glossary import normalize_term
from protocol.messages import (
    DEFAULT_MARKUP,
    CacheStatus,
    FinishReason,
    Formality,
    GenerateRequest,
    GenerateResponse,
    Generation,
    Glossary,
    MarkupOptions,
    SamplingParams,
    TextFormat,
    TranslateRequest,
    TranslateResponse,
    Translation,
)
from protocol.translation_spec import GUARDS

SendRequest = Callable[[InferRequest], InferRequest]
SendResponse = Callable[[InferResponse, InferRequest], InferResponse]


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def rest_request(request: InferRequest, *, binary: bool) -> InferRequest:
    body, headers = encode_rest_request(request, binary=binary)
    return decode_rest_request(body, lower(headers), request.model_name)


def rest_response(response: InferResponse, request: InferRequest) -> InferResponse:
    body, headers = encode_rest_response(response, request)
    assert b":null" not in body.split(b'"outputs"')[0]
    return decode_rest_response(body, lower(headers))


def grpc_request(request: InferRequest, *, raw: bool) -> InferRequest:
    wire = encode_grpc_request(request, raw=raw).SerializeToString()
    return decode_grpc_request(pb.ModelInferRequest.FromString(wire))


def grpc_response(response: InferResponse, request: InferRequest) -> InferResponse:
    wire = encode_grpc_response(response, request).SerializeToString()
    return decode_grpc_response(pb.ModelInferResponse.FromString(wire))


WIRES: dict[str, tuple[SendRequest, SendResponse]] = {
    "json": (lambda request: rest_request(request, binary=False), rest_response),
    "binary": (lambda request: rest_request(request, binary=True), rest_response),
    "grpc": (lambda request: grpc_request(request, raw=False), grpc_response),
    "raw grpc": (lambda request: grpc_request(request, raw=True), grpc_response),
}

wires = pytest.mark.parametrize("wire", WIRES)
few = settings(max_examples=40)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["", " ", "\0", "𝄞\0"]
)
tags = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)
counts = st.none() | st.integers(1, 2**31 - 1)
float32s = st.floats(-100, 0, width=32)
token_ids = st.integers(0, 2**31 - 1)


terms = texts.map(normalize_term).filter(bool)
glossaries = st.builds(
    Glossary,
    terms=st.lists(st.tuples(terms, terms), max_size=3).map(tuple),
    keep=st.lists(terms, max_size=3).map(tuple),
)


tag_lists = st.frozensets(st.sampled_from(["a", "b:c", "é", "x-y"]))
markup_options = st.builds(
    MarkupOptions, tag_lists, tag_lists, tag_lists, st.booleans(), st.booleans(), st.booleans()
)


@st.composite
def translate_requests(draw: st.DrawFn) -> TranslateRequest:
    n = draw(st.integers(1, 5))
    text_format = draw(st.sampled_from(TextFormat))
    has_markup = text_format in (TextFormat.HTML, TextFormat.XML)
    return TranslateRequest(
        texts=tuple(draw(st.lists(texts, min_size=n, max_size=n))),
        sources=tuple(draw(st.lists(st.none() | tags, min_size=n, max_size=n))),
        targets=tuple(draw(st.lists(tags, min_size=n, max_size=n))),
        max_new_tokens=draw(counts),
        deadline_ms=draw(counts),
        text_format=text_format,
        glossary=draw(st.none() | glossaries),
        markup=draw(markup_options) if has_markup else DEFAULT_MARKUP,
        placeholders=tuple(draw(st.lists(st.text('a(b)[c]"', min_size=1), max_size=3))),
        contexts=tuple(draw(st.just([]) | st.lists(texts, min_size=n, max_size=n).filter(any))),
        formality=draw(st.sampled_from(Formality)),
        join_lines=draw(st.booleans()),
        split_sentences=draw(st.booleans()),
    )


translations = st.builds(
    Translation,
    text=texts,
    source=tags,
    confidence=st.floats(0, 1, width=32),
    cache=st.sampled_from(CacheStatus),
    flags=st.lists(st.sampled_from(GUARDS), max_size=3, unique=True).map(tuple),
)
translate_responses = st.builds(
    TranslateResponse, translations=st.lists(translations, max_size=5).map(tuple), release=tags
)

prompt_rows = st.lists(
    st.tuples(st.lists(token_ids, min_size=1, max_size=9).map(tuple), st.integers(1, 2**31 - 1)),
    min_size=1,
    max_size=5,
)
repeats = st.just(0) | st.integers(2, 2**31 - 1)
sampling = st.builds(
    SamplingParams,
    temperature=st.floats(0, 1e6),
    top_p=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**63 - 1),
    top_k=st.integers(0, 2**31 - 1),
)


@st.composite
def generate_requests_of(draw: st.DrawFn) -> GenerateRequest:
    prompts, bounds = zip(*draw(prompt_rows), strict=True)
    some = st.lists(repeats, min_size=len(prompts), max_size=len(prompts)).map(tuple)
    max_repeats = draw(st.just(()) | some.filter(any))
    return GenerateRequest(prompts, bounds, draw(sampling), draw(st.none() | tags), draw(counts), max_repeats)


generate_requests = generate_requests_of()
generations = st.builds(
    Generation,
    token_ids=st.lists(token_ids, max_size=9).map(tuple),
    logprob=float32s,
    finish_reason=st.sampled_from(FinishReason),
)
generate_responses = st.builds(
    GenerateResponse, generations=st.lists(generations, max_size=5).map(tuple), release=tags
)


@wires
@few
@given(request=translate_requests(), request_id=st.none() | tags)
def test_translate_requests(wire: str, request: TranslateRequest, request_id: str | None) -> None:
    send, _ = WIRES[wire]
    arrived = send(infer_from_translate_request(request, model_name="m", request_id=request_id))
    assert translate_request_from_infer(arrived) == request
    assert arrived.id == request_id
    assert arrived.model_name == "m"
    assert arrived.use_binary_outputs == (wire in ("binary", "raw grpc"))


@wires
@few
@given(response=translate_responses)
def test_translate_responses(wire: str, response: TranslateResponse) -> None:
    send, reply = WIRES[wire]
    request = send(infer_from_translate_request(TranslateRequest(("a",), (None,), ("b",)), model_name="m"))
    arrived = reply(infer_from_translate_response(response, request), request)
    assert translate_response_from_infer(arrived) == response


@wires
@few
@given(request=generate_requests)
def test_generate_requests(wire: str, request: GenerateRequest) -> None:
    send, _ = WIRES[wire]
    assert generate_request_from_infer(send(infer_from_generate_request(request, model_name="m"))) == request


@wires
@few
@given(response=generate_responses)
def test_generate_responses(wire: str, response: GenerateResponse) -> None:
    send, reply = WIRES[wire]
    request = send(infer_from_generate_request(GenerateRequest(((1,),), (1,)), model_name="m"))
    arrived = reply(infer_from_generate_response(response, request), request)
    assert generate_response_from_infer(arrived) == response


@wires
def test_no_generated_tokens_at_all(wire: str) -> None:
    send, reply = WIRES[wire]
    response = GenerateResponse((Generation((), 0.0, FinishReason.STOP),) * 3, "r")
    request = send(infer_from_generate_request(GenerateRequest(((1,),), (1,)), model_name="m"))
    infer = infer_from_generate_response(response, request)
    assert list(infer.outputs[0].shape) == [3, 0]
    assert generate_response_from_infer(reply(infer, request)) == response


@wires
def test_many_rows(wire: str) -> None:
    send, _ = WIRES[wire]
    rng = np.random.default_rng(0)
    prompts = tuple(tuple(rng.integers(0, 1000, size=rng.integers(1, 40)).tolist()) for _ in range(5000))
    request = GenerateRequest(prompts, (8,) * len(prompts))
    assert generate_request_from_infer(send(infer_from_generate_request(request, model_name="m"))) == request
    many = tuple(f"text {n}" for n in range(20_000))
    asked = TranslateRequest(many, (None,) * len(many), ("de",) * len(many))
    assert translate_request_from_infer(send(infer_from_translate_request(asked, model_name="m"))) == asked


@few
@given(response=generate_responses)
def test_the_sdk_reads_our_json_responses(response: GenerateResponse) -> None:
    request = infer_from_generate_request(GenerateRequest(((1,),), (1,)), model_name="m")
    body, _ = encode_rest_response(infer_from_generate_response(response, request), request)
    read = InferResponse.from_bytes(body, len(body))
    ids = read.get_output_by_name("output_lengths").as_numpy()
    assert ids.tolist() == [len(generation.token_ids) for generation in response.generations]
