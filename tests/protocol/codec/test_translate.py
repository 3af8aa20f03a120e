from __future__ import annotations

import math

import pytest

from protocol.codec import (
    InferInput,
    InferOutput,
    InferRequest,
    InferResponse,
    infer_from_translate_request,
    infer_from_translate_response,
    translate_request_from_infer,
    translate_response_from_infer,
)
from protocol.codec.parameters import Parameters
from protocol.codec.placeholders import placeholders_of
from protocol.codec.sdk import RequestedOutput
from protocol.error_codes import ErrorCode
from protocol.errors import InternalFault, InvalidRequest
from protocol.messages import (
    CacheStatus,
    Glossary,
    OnError,
    TextError,
    TextFormat,
    TranslateRequest,
    TranslateResponse,
    Translation,
)


def strings(name: str, *values: str) -> InferInput:
    return InferInput(name, [len(values)], "BYTES", data=list(values))


def asked(*inputs: InferInput, **parameters: object) -> InferRequest:
    return InferRequest(model_name="m", infer_inputs=list(inputs), parameters=parameters)


def test_languages_come_as_parameter_or_tensor_and_spread() -> None:
    text = strings("text", "a", "b")
    for request in (
        asked(text, source="en", target="de"),
        asked(text, strings("source", "en"), strings("target", "de", "de")),
        asked(text, strings("source", "en", "en"), target="de"),
    ):
        read = translate_request_from_infer(request)
        assert read.sources == ("en", "en")
        assert read.targets == ("de", "de")


def test_a_source_left_out_or_empty_is_detected() -> None:
    text = strings("text", "a", "b")
    assert translate_request_from_infer(asked(text, target="de")).sources == (None, None)
    read = translate_request_from_infer(asked(text, strings("source", "", "en"), target="de"))
    assert read.sources == (None, "en")


def test_blank_texts_pass() -> None:
    assert translate_request_from_infer(asked(strings("text", "", " \n"), target="de")).texts == ("", " \n")


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (asked(strings("text", "a")), "target is missing"),
        (asked(strings("text", "a"), strings("target", "")), "target is missing"),
        (asked(strings("text", "a"), target=""), "parameter target must be a string"),
        (asked(strings("text", "a"), target=5), "parameter target must be a string"),
        (asked(strings("text"), target="de"), "at least one text"),
        (asked(target="de"), "input text is missing"),
        (asked(strings("text", "a"), strings("text", "a"), target="de"), "input text is there twice"),
        (asked(strings("text", "a"), strings("target", "de"), target="de"), "target is there twice"),
        (
            asked(strings("text", "a", "b", "c"), strings("target", "de", "fr")),
            "has 2 values; send 1, or one for",
        ),
        (asked(strings("text", "a"), strings("source"), target="de"), "has 0 values"),
        (asked(strings("text", "a"), strings("lang", "a"), target="de"), "inputs[1] has an unknown name"),
        (asked(strings("text", "a"), target="de", temperature=1.0), "unknown parameter"),
        (asked(strings("text", "a"), target="de", max_new_tokens=True), "whole number from 1"),
        (asked(strings("text", "a"), target="de", max_new_tokens=0), "whole number from 1"),
        (asked(strings("text", "a"), target="de", max_new_tokens=2.0), "whole number from 1"),
        (asked(strings("text", "a"), target="de", max_new_tokens="5"), "whole number from 1"),
        (asked(strings("text", "a"), target="de", deadline_ms=2**31), "whole number from 1"),
        (asked(strings("text", "a"), target="de", timeout="1 s"), "timeout must be a whole number"),
    ],
)
def test_what_is_wrong_is_said(request_: InferRequest, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translate_request_from_infer(request_)
    assert says in caught.value.message


def test_a_format_is_one_of_three() -> None:
    for text_format in TextFormat:
        wanted = translate_request_from_infer(
            asked(strings("text", "a"), target="de", format=text_format.value)
        )
        assert wanted.text_format is text_format
    assert (
        translate_request_from_infer(asked(strings("text", "a"), target="de")).text_format is TextFormat.TEXT
    )
    with pytest.raises(InvalidRequest, match="known are text, html, xml"):
        translate_request_from_infer(asked(strings("text", "a"), target="de", format="pdf"))


def test_a_glossary_is_json_text() -> None:
    text = strings("text", "a")
    assert translate_request_from_infer(asked(text, target="de")).glossary is None
    read = translate_request_from_infer(asked(text, target="de", glossary='{"terms": {"a": "b"}}'))
    assert read.glossary == Glossary((("a", "b"),))
    wrongs: tuple[object, ...] = ("secret", "", {"terms": {}})
    for wrong in wrongs:
        with pytest.raises(InvalidRequest, match="parameter glossary") as caught:
            translate_request_from_infer(asked(text, target="de", glossary=wrong))
        assert "secret" not in caught.value.message


def test_errors_are_sent_per_text_or_when_asked_for() -> None:
    good = Translation("a", "en", 0.5, CacheStatus.MISS)
    error = TextError(ErrorCode.TEXT_TOO_LONG, "it has 300 tokens")
    bad = Translation("", "und", 0.0, CacheStatus.NONE, error=error)
    per_text = TranslateRequest(("a", "b"), (None, None), ("zh", "zh"), on_error=OnError.PER_TEXT)
    request = infer_from_translate_request(per_text, model_name="m")
    assert translate_request_from_infer(request) == per_text
    response = TranslateResponse((good, bad), "r")
    sent = infer_from_translate_response(response, request)
    output = sent.get_output_by_name("error")
    assert output is not None
    assert output.data == ["", '{"code":"text_too_long","error":"it has 300 tokens"}']
    assert translate_response_from_infer(sent) == response
    sent = infer_from_translate_response(TranslateResponse((good,), "r"), asked())
    assert sent.get_output_by_name("error") is None
    broken = infer_from_translate_response(response, request)
    next(each for each in broken.outputs if each.name == "error").data[1] = "[]"
    with pytest.raises(InternalFault, match="an error is not a JSON object"):
        translate_response_from_infer(broken)


def test_flags_are_sent_when_there_are_some_or_when_asked_for() -> None:
    good = Translation("a", "en", 0.5, CacheStatus.HIT)
    bad = Translation("b", "en", 0.5, CacheStatus.MISS, flags=("ratio", "script"))

    def flags(request: InferRequest, *translations: Translation) -> list[str] | None:
        sent = infer_from_translate_response(TranslateResponse(translations, "r"), request)
        output = sent.get_output_by_name("flags")
        return None if output is None else list(output.data)

    asking_for_them = InferRequest(
        model_name="m", infer_inputs=[], request_outputs=[RequestedOutput("flags")]
    )
    assert flags(asked(), good) is None
    assert flags(asked(), good, bad) == ["", "ratio,script"]
    assert flags(asking_for_them, good) == [""]


def test_the_target_is_sent_when_another_variant_was_served_or_when_it_is_asked_for() -> None:
    simplified = Translation("a", "en", 0.5, CacheStatus.HIT, target="zh")
    traditional = Translation("b", "en", 0.5, CacheStatus.HIT, target="zh-Hant")

    def targets(request: InferRequest, *wanted: str) -> list[str] | None:
        response = TranslateResponse((simplified, traditional), "r")
        sent = infer_from_translate_response(response, request, wanted)
        output = sent.get_output_by_name("target")
        return None if output is None else list(output.data)

    asking_for_it = InferRequest(model_name="m", infer_inputs=[], request_outputs=[RequestedOutput("target")])
    assert targets(asked(), "zh", "zh-TW") == ["zh", "zh-Hant"]
    assert targets(asked(), "zh", "zh-Hant") is None
    assert targets(asking_for_it, "zh", "zh-Hant") == ["zh", "zh-Hant"]


def test_errors_never_quote_the_caller() -> None:
    for request in (
        asked(strings("my secret", "a"), target="de"),
        asked(strings("text", "a"), target="de", **{"my secret": 1}),
        asked(strings("text", "a"), target="de", max_new_tokens="my secret"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            translate_request_from_infer(request)
        assert "secret" not in caught.value.message


@pytest.mark.parametrize("confidence", [math.nan, math.inf, -0.1, 1.1])
def test_a_confidence_outside_0_to_1_is_our_fault(confidence: float) -> None:
    response = TranslateResponse((Translation("a", "en", confidence, CacheStatus.MISS),), "r")
    with pytest.raises(InternalFault):
        infer_from_translate_response(response, asked())


def test_an_answer_that_is_not_a_translation_is_our_fault() -> None:
    good = infer_from_translate_response(
        TranslateResponse((Translation("a", "en", 0.5, CacheStatus.MISS),), "r"), asked()
    )
    assert translate_response_from_infer(good).release == "r"
    no_release = InferResponse("1", "m", good.outputs)
    half = InferResponse("1", "m", good.outputs[:2], parameters=good.parameters)
    odd = [*good.outputs[:3], InferOutput("cache", [1], "BYTES", data=["maybe"])]
    uneven = [*good.outputs[:3], InferOutput("cache", [2], "BYTES", data=["hit", "hit"])]
    for response in (
        no_release,
        half,
        InferResponse("1", "m", odd, parameters=good.parameters),
        InferResponse("1", "m", uneven, parameters=good.parameters),
    ):
        with pytest.raises(InternalFault):
            translate_response_from_infer(response)


@pytest.mark.parametrize(
    ("given", "expected"),
    [('["<<[a-z]+>>", "~.~"]', ("<<[a-z]+>>", "~.~")), (["a"], ("a",)), (None, ()), ("[]", ())],
)
def test_placeholders_are_a_list_of_expressions(given: object, expected: tuple[str, ...]) -> None:
    assert placeholders_of(Parameters({"placeholders": given})) == expected


@pytest.mark.parametrize("given", ["<<a>>", "{}", [1], [""], 5, ["a" * 501], ["a"] * 33, "[1]"])
def test_other_placeholders_are_refused(given: object) -> None:
    with pytest.raises(InvalidRequest, match="parameter placeholders"):
        placeholders_of(Parameters({"placeholders": given}))
