from __future__ import annotations

import json
import math

import orjson
import pytest

from protocol.codec import (
    document_from_text,
    document_from_text_delta,
    translate_request_from_generate,
    translate_request_from_infer,
)
from protocol.codec.rest import decode_rest_request
from protocol.errors import InternalFault, InvalidRequest
from protocol.messages import (
    CacheStatus,
    FinishReason,
    Formality,
    Glossary,
    MarkupOptions,
    TextFormat,
    TranslateRequest,
)
from protocol.tensors import TRANSLATE_PARAMETERS
from protocol.text_stream import TextDelta, TextEnd, Usage

END = TextEnd("en", 0.5, CacheStatus.MISS, FinishReason.STOP, ("ratio",), "0123", Usage(2, 7), "zh")
MARKUP = {
    "ignore_tags": "X, y",
    "splitting_tags": "b,",
    "non_splitting_tags": "p",
    "outline_detection": False,
}
MARKUP |= {"translate_attributes": "1", "translate_cdata": True}
PARAMETERS = {
    "source": "en",
    "target": "zh",
    "max_new_tokens": 9,
    "deadline_ms": 50,
    "format": "html",
    "join_lines": True,
    "split_sentences": "0",
    **MARKUP,
}


def body(document: object) -> bytes:
    return orjson.dumps(document)


def test_a_request_is_that_of_one_text() -> None:
    own = {"glossary": json.dumps({"terms": {"Mug": "杯"}}), "placeholders": ["<[a-z]+>"]}
    own |= {"context": "On a shelf", "formality": "less"}
    read = translate_request_from_generate(body({"text_input": " Mug ", "parameters": {**PARAMETERS, **own}}))
    options = MarkupOptions(frozenset("xy"), frozenset("b"), frozenset("p"), False, True, True)
    assert read == TranslateRequest(
        (" Mug ",),
        ("en",),
        ("zh",),
        9,
        TextFormat.HTML,
        50,
        Glossary((("Mug", "杯"),)),
        markup=options,
        placeholders=("<[a-z]+>",),
        contexts=("On a shelf",),
        formality=Formality.LESS,
        join_lines=True,
        split_sentences=False,
    )
    assert set(PARAMETERS) | set(own) == set(TRANSLATE_PARAMETERS)


@pytest.mark.parametrize("parameters", [PARAMETERS, {"target": "zh"}])
def test_parameters_mean_what_they_mean_for_inference(parameters: dict[str, object]) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]}
    infer = decode_rest_request(body({"inputs": [tensor], "parameters": parameters}), {}, "m")
    asked = translate_request_from_generate(body({"text_input": "x", "parameters": parameters}))
    assert asked == translate_request_from_infer(infer)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "must be a JSON object"),
        ({"parameters": {"target": "zh"}}, "text_input must be one string"),
        ({"text_input": ["a", "b"], "parameters": {"target": "zh"}}, "send several texts to /infer"),
        ({"text_input": None, "parameters": {"target": "zh"}}, "text_input must be one string"),
        ({"text_input": "a"}, "target is missing"),
        ({"text_input": "a", "parameters": []}, "parameters of the request must be an object"),
        (
            {"text_input": "a", "stream": True, "parameters": {"target": "zh"}},
            "known are text_input, parameters",
        ),
        ({"text_input": "a", "parameters": {"target": "zh", "top_k": 1}}, "known are source, target"),
        (
            {"text_input": "a", "parameters": {"target": "zh", "ignore_tags": "b"}},
            "ignore_tags needs .* format",
        ),
        (
            {"text_input": "a", "parameters": {"target": "zh", "format": "xml", "outline_detection": 2}},
            "outline_detection must be true or false",
        ),
        ({"text_input": "a", "parameters": {"target": "zh", "tagret": "x"}}, "did you mean target"),
        ({"text_input": "a", "parameters": {"target": 1}}, "must be a string"),
        ({"text_input": "a", "parameters": {"target": "zh", "deadline_ms": 0}}, "deadline_ms"),
    ],
)
def test_what_is_wrong_is_said(document: object, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        translate_request_from_generate(body(document))


@pytest.mark.parametrize(
    ("parameters", "deadline_ms"),
    [
        ({"timeout": 1_500_000}, 1500),
        ({"timeout": 1}, 1),
        ({"timeout": 0}, None),
        ({"timeout": 2**63 - 1}, 2**31 - 1),
        ({"timeout": 9_000_000, "deadline_ms": 50}, 50),
        ({"timeout": 20_000, "deadline_ms": 50}, 20),
        ({"priority": 2, "content_type": "str"}, None),
    ],
)
def test_parameters_of_other_servers_clients(parameters: dict[str, object], deadline_ms: int | None) -> None:
    request = translate_request_from_generate(
        body({"text_input": "a", "parameters": {"target": "zh", **parameters}})
    )
    assert request.deadline_ms == deadline_ms


def test_what_is_no_json_is_said_by_its_place() -> None:
    with pytest.raises(InvalidRequest, match="line 1, column"):
        translate_request_from_generate(b'{"text_input": secret')


def test_a_document_has_all_that_is_known() -> None:
    whole = {
        "text_output": "ab",
        "model_name": "demo",
        "model_version": "0123",
        "source": "en",
        "target": "zh",
        "confidence": 0.5,
        "cache": "miss",
        "flags": ["ratio"],
        "finish_reason": "stop",
        "usage": {"segments": 2, "generated_tokens": 7},
    }
    assert document_from_text("ab", END, "demo") == whole
    assert document_from_text_delta(TextDelta("ab", END), "demo") == {**whole, "done": True}
    first = {"text_output": "a", "model_name": "demo", "done": False}
    assert document_from_text_delta(TextDelta("a"), "demo") == first


@pytest.mark.parametrize("confidence", [math.nan, -0.1, 1.5])
def test_a_confidence_that_is_none_is_our_fault(confidence: float) -> None:
    end = TextEnd("en", confidence, CacheStatus.HIT, FinishReason.STOP, (), "0123", Usage(1, 0))
    with pytest.raises(InternalFault):
        document_from_text("a", end, "demo")
