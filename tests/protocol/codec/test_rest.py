from __future__ import annotations

import contextlib
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codec import (
    InferOutput,
    InferRequest,
    InferResponse,
    decode_rest_request,
    decode_rest_response,
    encode_rest_response,
    generate_request_from_infer,
    infer_from_translate_response,
    translate_request_from_infer,
)
from protocol.codec.documents import MAX_VALUES
from protocol.errors import InternalFault, InvalidRequest, TooLong
from protocol.messages import CacheStatus, TranslateResponse, Translation

TEXT = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["x"]}
IDS = {"name": "input_ids", "shape": [2, 3], "datatype": "INT32", "data": [1, 2, 3, 4, 5, 6]}
ANSWER = TranslateResponse((Translation("y", "en", 0.5, CacheStatus.HIT),), "r1")


def decode(document: object, tail: bytes | None = None) -> InferRequest:
    head = orjson.dumps(document)
    headers = {} if tail is None else {"inference-header-content-length": str(len(head))}
    return decode_rest_request(head + (tail or b""), headers, "m")


def refusal(document: object, tail: bytes | None = None) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode(document, tail)
    return caught.value.message


def test_takes_nested_and_flat_data_alike() -> None:
    flat = decode({"inputs": [IDS]}).inputs[0].data
    nested = decode({"inputs": [{**IDS, "data": [[1, 2, 3], [4, 5, 6]]}]}).inputs[0].data
    assert flat.tolist() == nested.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_nulls_are_what_is_absent() -> None:
    request = decode(
        {"id": None, "parameters": None, "outputs": None, "inputs": [{**TEXT, "parameters": None}]}
    )
    assert request.id is None
    assert request.request_outputs is None


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        ({**IDS, "data": [[1, 2], [3, 4, 5, 6]]}, "not nested as shape"),
        ({**IDS, "data": [[1, 2, 3]]}, "means 2 rows, but 1"),
        ({**IDS, "data": [1, 2, 3, 4, 5]}, "means 6 values, but 5"),
        ({**IDS, "data": [1, 2, 3, 4, 5, 6.0]}, "whole numbers only"),
        ({**IDS, "data": [1, 2, 3, 4, 5, True]}, "whole numbers only"),
        ({**IDS, "data": [1, 2, 3, 4, 5, None]}, "whole numbers only"),
        ({**IDS, "data": [1, 2, 3, 4, 5, 2**31]}, "does not fit"),
        ({**IDS, "data": [1, 2, 3, 4, 5, 2**63]}, "does not fit"),
        ({**IDS, "data": "123456"}, "data must be a list"),
        ({**IDS, "shape": None}, "shape must be a list"),
        ({**IDS, "shape": []}, "1 to 8 dimensions"),
        ({**IDS, "shape": [2**20, 2**20]}, "more than"),
        ({**IDS, "shape": [0, 2**40], "data": []}, "more than"),
        ({**IDS, "shape": [2, 3.0]}, "whole number"),
        ({**IDS, "name": ""}, "must have a name"),
        ({**IDS, "name": 5}, "must have a name"),
        ({**IDS, "datatype": "INT64"}, "datatype must be one of"),
        ({**IDS, "datatype": ["BYTES"]}, "datatype must be one of"),
        ({**IDS, "dtype": "INT32"}, "unknown field"),
        ({**IDS, "parameters": []}, "must be an object"),
        ({**IDS, "parameters": {"binary_data_size": 24}}, "both data and binary_data_size"),
        ({**IDS, "datatype": "FP32", "data": [1, 2, 3, 4, 5, 1e39]}, "too large for FP32"),
        ("text", "must be an object"),
    ],
)
def test_a_malformed_tensor_is_refused(tensor: object, says: str) -> None:
    message = refusal({"inputs": [tensor]})
    assert message.startswith("inputs[0]") or "of inputs[0]" in message
    assert says in message


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"inputs": [TEXT], "parameter": {}}, "unknown field"),
        ({"inputs": {}}, "must be a list"),
        ({"inputs": [TEXT], "id": 1}, "id must be a string"),
        ({"inputs": [TEXT], "parameters": [1]}, "must be an object"),
        ({"inputs": [TEXT], "parameters": {"binary_data_output": 1}}, "true or false"),
        ({"inputs": [TEXT], "outputs": {}}, "outputs must be a list"),
        ({"inputs": [TEXT], "outputs": ["cache"]}, "outputs[0] must be an object"),
        (
            {"inputs": [TEXT], "outputs": [{"name": "cache", "parameters": {"binary_data": 1}}]},
            "true or false",
        ),
    ],
)
def test_a_malformed_envelope_is_refused(document: object, says: str) -> None:
    assert says in refusal(document)


@pytest.mark.parametrize(
    ("sizes", "tail", "says"),
    [
        ([5], None, "header Inference-Header-Content-Length is missing"),
        ([5], b"\x01\0\0\0", "4 are left"),
        ([5], b"\x01\0\0\0xy", "add up to 5 bytes, but 6"),
        ([True], b"\x01\0\0\0x", "must count bytes"),
        ([-1], b"\x01\0\0\0x", "must count bytes"),
        ([5], b"\x02\0\0\0x", "shorter than the length"),
        ([3], b"\x01\0\0", "shorter than the length"),
        ([0], b"", "means 1 values, but 0"),
        ([5], b"\x01\0\0\0\xff", "not valid UTF-8"),
        ([9, 5], b"\x01\0\0\0x", "must count bytes"),
    ],
)
def test_binary_sizes_must_add_up(sizes: list[Any], tail: bytes | None, says: str) -> None:
    names = ("text", "target")
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
        for name, size in zip(names, sizes, strict=False)
    ]
    assert says in refusal({"inputs": inputs}, tail)


def test_a_number_tensor_must_have_its_size() -> None:
    ids = {"name": "input_ids", "shape": [1, 2], "datatype": "INT32", "parameters": {"binary_data_size": 7}}
    assert "takes 8 bytes, but 7" in refusal({"inputs": [ids]}, b"1234567")


@pytest.mark.parametrize("length", ["", "-1", "x", "1.5", "99999", "²", "9" * 30])
def test_a_bad_length_header_is_refused(length: str) -> None:
    with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length"):
        decode_rest_request(b"{}", {"inference-header-content-length": length}, "m")


def test_a_lone_surrogate_in_json_is_refused() -> None:
    body = b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["\\ud800"]}]}'
    with pytest.raises(InvalidRequest, match="not JSON"):
        decode_rest_request(body, {}, "m")


def answer(**request: object) -> tuple[bytes, dict[str, str]]:
    asked = decode({"inputs": [TEXT], **request})
    return encode_rest_response(infer_from_translate_response(ANSWER, asked), asked)


def test_one_output_may_be_binary_among_others() -> None:
    outputs = [{"name": "confidence", "parameters": {"binary_data": True}}, {"name": "cache"}]
    body, headers = answer(outputs=outputs)
    length = int(headers["Inference-Header-Content-Length"])
    document = orjson.loads(body[:length])
    assert [output["name"] for output in document["outputs"]] == ["confidence", "cache"]
    assert document["outputs"][1]["data"] == ["hit"]
    assert body[length:] == b"\0\0\0\x3f"


def test_a_wish_for_all_outputs_holds_for_those_that_say_nothing() -> None:
    outputs = [{"name": "cache"}, {"name": "source", "parameters": {"binary_data": False}}]
    body, headers = answer(parameters={"binary_data_output": True}, outputs=outputs)
    document = orjson.loads(body[: int(headers["Inference-Header-Content-Length"])])
    assert document["outputs"][0]["parameters"] == {"binary_data_size": 7}
    assert document["outputs"][1]["data"] == ["en"]


def test_an_answer_that_cannot_travel_is_our_fault() -> None:
    asked = decode({"inputs": [TEXT]})
    for data in (["\ud800"], [5], ["a", "b"]):
        response = InferResponse("1", "m", [InferOutput("translation", [1], "BYTES", data=data)])
        with pytest.raises(InternalFault):
            encode_rest_response(response, asked)
    missing = decode({"inputs": [TEXT], "outputs": [{"name": "cache"}]})
    with pytest.raises(InternalFault, match="lacks an output"):
        encode_rest_response(InferResponse("1", "m", []), missing)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"outputs": [{}]}', b'{"detail": "x"}'])
def test_a_response_that_cannot_be_read_is_our_fault(body: bytes) -> None:
    with pytest.raises(InternalFault):
        decode_rest_response(body, {})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
known_names = st.sampled_from(["text", "target", "source", "input_ids", "input_lengths", "bogus"])
loose_tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": known_names | json_values,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | json_values,
        "datatype": st.sampled_from(["BYTES", "INT32", "FP32", "BOOL"]) | json_values,
        "data": st.lists(st.integers(-1, 9) | st.text(max_size=2) | json_values, max_size=4) | json_values,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 12)}) | json_values,
    },
)
loose_requests = st.fixed_dictionaries(
    {"inputs": st.lists(loose_tensors, max_size=3) | json_values},
    optional={
        "parameters": st.dictionaries(
            st.sampled_from(["target", "source", "max_new_tokens", "top_p", "seed", "x"]), json_values
        )
        | json_values,
        "outputs": json_values,
        "id": json_values,
    },
)


@settings(max_examples=300)
@given(document=loose_requests, tail=st.none() | st.binary(max_size=12))
def test_whatever_comes_is_read_or_refused(document: object, tail: bytes | None) -> None:
    try:
        head = orjson.dumps(document)
    except TypeError:  # larger than JSON numbers may be
        return
    headers = {} if tail is None else {"inference-header-content-length": str(len(head))}
    for read in (translate_request_from_infer, generate_request_from_infer):
        # Any other exception, an InternalFault among them, fails the test.
        with contextlib.suppress(InvalidRequest):
            read(decode_rest_request(head + (tail or b""), headers, "m"))


@settings(max_examples=200)
@given(body=st.binary(max_size=60), length=st.none() | st.integers(0, 60))
def test_noise_is_refused(body: bytes, length: int | None) -> None:
    headers = {} if length is None else {"inference-header-content-length": str(length)}
    with pytest.raises(InvalidRequest):
        decode_rest_request(body, headers, "m")


@pytest.mark.parametrize("part", [b"[],", b"{},", b"0,"])
def test_a_body_of_too_many_values_is_refused_before_it_is_read(part: bytes) -> None:
    body = b'{"inputs": [' + part * (MAX_VALUES + 1) + b"0]}"
    started = time.process_time()
    with pytest.raises(TooLong, match=rf"JSON values, at most {MAX_VALUES}"):
        decode_rest_request(body, {}, "m")
    assert time.process_time() - started < 0.2
