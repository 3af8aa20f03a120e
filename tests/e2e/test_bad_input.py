"""Every bad input gets its status and a message that says the fix, over REST and gRPC; the server serves on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import orjson
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.e2e.conftest import Service

TOO_BIG = "x" * 10_000_000


@dataclass(frozen=True)
class Bad:
    """One bad request, as an edit of a good one."""

    edit: Callable[[dict[str, Any]], None]
    status: int
    code: grpc.StatusCode
    says: str


def text(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda request: request["inputs"][0].update(changes)


def parameter(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda request: request["parameters"].update(changes)


def both(*edits: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def edit(request: dict[str, Any]) -> None:
        for each in edits:
            each(request)

    return edit


def glossary(value: str) -> Callable[[dict[str, Any]], None]:
    return parameter(glossary=value)


INVALID, TOO_LONG, NOT_FOUND = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.NOT_FOUND,
)

CASES = {
    "empty list": Bad(text(data=[], shape=[0]), 400, INVALID, "at least one"),
    "100,000 characters": Bad(text(data=["word " * 20_000]), 413, TOO_LONG, "takes at most 65536; split it"),
    "15,000 characters": Bad(text(data=["word " * 3_000]), 413, TOO_LONG, "tokens"),
    "invalid UTF-8": Bad(text(data=[b"\xff\xfe\xff"]), 400, INVALID, "UTF-8"),
    "wrong dtype": Bad(text(datatype="INT32", data=[1]), 400, INVALID, "BYTES"),
    "wrong shape": Bad(text(shape=[1, 1]), 400, INVALID, "shape"),
    "shape that disagrees with the data": Bad(text(shape=[3]), 400, INVALID, "3"),
    "unknown language": Bad(parameter(target="tlh"), 404, NOT_FOUND, "zh"),
    "no target": Bad(lambda request: request["parameters"].pop("target"), 400, INVALID, "target"),
    "negative max_new_tokens": Bad(parameter(max_new_tokens=-1), 400, INVALID, "max_new_tokens"),
    "unknown input": Bad(text(name="txet"), 400, INVALID, "text"),
    "10 MB body": Bad(text(data=[TOO_BIG]), 413, TOO_LONG, ""),
    "XML that is not well-formed": Bad(
        both(text(data=["<a>A blue\n <b>shirt"]), parameter(format="xml")), 400, INVALID, "line 2, column"
    ),
    "unknown format": Bad(parameter(format="pdf"), 400, INVALID, "known are text, html, xml"),
    "placeholder flood": Bad(text(data=["A shirt " + "{a}" * 20_000]), 413, TOO_LONG, "60008 bytes"),
    "small placeholder flood": Bad(text(data=["A shirt " + "{a}" * 5_000]), 413, TOO_LONG, "tokens"),
    "placeholder flood in HTML": Bad(
        both(text(data=["<p>A shirt " + "{a}" * 5_000]), parameter(format="html")), 413, TOO_LONG, "tokens"
    ),
    "10,000 texts": Bad(
        text(data=["A shirt"] * 10_000, shape=[10_000]), 413, TOO_LONG, "at most 1024 are taken"
    ),
    "10,000 sentences": Bad(text(data=["A shirt. " * 10_000]), 413, TOO_LONG, "at most 1024 are taken"),
    "glossary with two translations": Bad(
        glossary('{"terms": {"Shirt": "a", "hat": "b", "Shirt": "c"}}'), 400, INVALID, "terms[0] and terms[2]"
    ),
    "glossary that keeps and translates": Bad(
        glossary('{"terms": {"Acme shirt": "a"}, "keep": ["shirt"]}'), 400, INVALID, "terms[0] holds keep[0]"
    ),
    "glossary that is no JSON": Bad(
        glossary("shirt = a"), 400, INVALID, "parameter glossary: it is not JSON"
    ),
    "glossary of another shape": Bad(glossary('["shirt"]'), 400, INVALID, "must be JSON like"),
    "glossary with an empty term": Bad(glossary('{"keep": [""]}'), 400, INVALID, "keep[0]"),
    "glossary of 1,001 entries": Bad(
        glossary(json.dumps({"keep": [f"t{number}" for number in range(1001)]})),
        413,
        TOO_LONG,
        "at most 1000",
    ),
    "glossary of 100,000 characters": Bad(
        glossary(json.dumps({"keep": ["t" * 100_000]})), 413, TOO_LONG, "at most 65536"
    ),
    "unknown model": Bad(lambda request: request.update(model="nobody"), 404, NOT_FOUND, "serves random"),
}


def request_for(case: Bad) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["A blue shirt"]}
    request = {"model": "random", "inputs": [tensor], "parameters": {"target": "zh"}}
    case.edit(request)
    return request


def encode_json(request: dict[str, Any]) -> bytes:
    """JSON, with raw bytes put between the quotes as they are."""
    data = request["inputs"][0]["data"]
    marked = [f"@{i}@" if isinstance(item, bytes) else item for i, item in enumerate(data)]
    request["inputs"][0]["data"] = marked
    encoded = orjson.dumps({key: value for key, value in request.items() if key != "model"})
    for index, item in enumerate(data):
        if isinstance(item, bytes):
            encoded = encoded.replace(f"@{index}@".encode(), item)
    return encoded


def encode_grpc(request: dict[str, Any]) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=request["model"])
    for name, value in request["parameters"].items():
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(message.parameters[name], kind, value)
    for tensor in request["inputs"]:
        sent = message.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        for item in tensor["data"]:
            if isinstance(item, int):
                sent.contents.int_contents.append(item)
            else:
                sent.contents.bytes_contents.append(item.encode() if isinstance(item, str) else item)
    return message


def assert_serves_on(service: Service) -> None:
    good = encode_json(request_for(Bad(lambda request: None, 200, grpc.StatusCode.OK, "")))
    assert httpx.post(f"{service.url}/v2/models/random/infer", content=good).status_code == 200
    assert service.process.poll() is None


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rest_says_what_is_wrong(service: Service, case: Bad) -> None:
    request = request_for(case)
    url = f"{service.url}/v2/models/{request['model']}/infer"
    answer = httpx.post(url, content=encode_json(request), headers={"content-type": "application/json"})
    assert answer.status_code == case.status, answer.text
    assert case.says in answer.json()["error"]
    assert_serves_on(service)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_grpc_says_what_is_wrong(service: Service, case: Bad) -> None:
    with grpc.insecure_channel(service.grpc) as channel, pytest.raises(grpc.RpcError) as failure:
        GRPCInferenceServiceStub(channel).ModelInfer(encode_grpc(request_for(case)), timeout=30)
    assert failure.value.code() == case.code, failure.value.details()
    assert case.says in failure.value.details()
    assert_serves_on(service)


ONE_TEXT = (
    "100,000 characters",
    "unknown language",
    "no target",
    "negative max_new_tokens",
    "10 MB body",
    "XML that is not well-formed",
    "unknown format",
    "placeholder flood",
    "placeholder flood in HTML",
    "10,000 sentences",
    "glossary with two translations",
    "glossary that keeps and translates",
    "glossary that is no JSON",
    "glossary of another shape",
    "glossary with an empty term",
    "glossary of 1,001 entries",
    "glossary of 100,000 characters",
    "unknown model",
)
"""Cases that say something of a single text, which is all that ``generate`` takes."""


@pytest.mark.parametrize("method", ["generate", "generate_stream"])
@pytest.mark.parametrize("case", [CASES[name] for name in ONE_TEXT], ids=ONE_TEXT)
def test_generate_says_what_is_wrong(service: Service, case: Bad, method: str) -> None:
    request = request_for(case)
    body = {"text_input": request["inputs"][0]["data"][0], "parameters": request["parameters"]}
    answer = httpx.post(f"{service.url}/v2/models/{request['model']}/{method}", json=body, timeout=30)
    assert answer.status_code == case.status, answer.text
    assert case.says in answer.json()["error"]
    assert_serves_on(service)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"text_input": ["A shirt"], "parameters": {"target": "zh"}}, "/infer"),
        ({"parameters": {"target": "zh"}}, "text_input"),
        (
            {"text_input": "A shirt", "parameters": {"target": "zh", "glosary": "{}"}},
            "did you mean glossary?",
        ),
        ({"text_input": "A shirt", "parameters": []}, "parameters"),
        ([], "text_input"),
    ],
)
def test_what_is_no_request_to_generate_is_400(service: Service, body: object, says: str) -> None:
    answer = httpx.post(f"{service.url}/v2/models/random/generate", json=body)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]


def test_a_missing_content_type_is_no_reason_to_refuse(service: Service) -> None:
    content = encode_json(request_for(Bad(lambda request: None, 200, grpc.StatusCode.OK, "")))
    request = httpx.Request("POST", f"{service.url}/v2/models/random/infer", content=content)
    request.headers.pop("content-type", None)
    with httpx.Client() as client:
        answer = client.send(request)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "page",
    [
        "<p>A <b>blue shirt",
        "</div>A blue shirt</p></p>",
        "<a href='x>A blue shirt",
        "<<<A blue > shirt &nosuch; &#99999999; &",
        "<!-- A blue shirt",
        "<script>A blue shirt",
        "<p " * 500 + "A blue shirt",
        "<b>" * 2_000 + "A blue shirt",
        "A blue shirt<\x00p>",
    ],
)
def test_malformed_html_is_no_error(service: Service, page: str) -> None:
    """It is read as browsers read it; what they could not read stays as it is."""
    request = request_for(
        Bad(both(text(data=[page]), parameter(format="html", source="en")), 200, grpc.StatusCode.OK, "")
    )
    answer = httpx.post(f"{service.url}/v2/models/random/infer", content=encode_json(request), timeout=30)
    assert answer.status_code == 200, answer.text
    with grpc.insecure_channel(service.grpc) as channel:
        sent = GRPCInferenceServiceStub(channel).ModelInfer(encode_grpc(request), timeout=30)
    assert answer.json()["outputs"][0]["data"] == _texts(sent)


def _texts(answer: pb.ModelInferResponse) -> list[str]:
    if answer.raw_output_contents:
        raw = answer.raw_output_contents[0]
        return [raw[4:].decode()]
    return [each.decode() for each in answer.outputs[0].contents.bytes_contents]


def test_an_empty_text_is_its_own_translation(service: Service) -> None:
    request = request_for(Bad(text(data=[""]), 200, grpc.StatusCode.OK, ""))
    answer = httpx.post(f"{service.url}/v2/models/random/infer", content=encode_json(request))
    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["data"] == [""]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"inputs": 3}', b"\xff"])
def test_what_is_no_request_at_all_is_400(service: Service, content: bytes) -> None:
    answer = httpx.post(f"{service.url}/v2/models/random/infer", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("edit", "status", "says"),
    [
        ({"input_ids": [[99999]]}, 400, "input_ids"),
        ({"input_ids": [[-1]]}, 400, "input_ids"),
        ({"release": "ffffffffffffffff"}, 409, "release"),
        ({"max_new_tokens": 5000}, 413, "max_new_tokens"),
        ({"max_new_tokens": 0}, 400, "max_new_tokens"),
        ({"deadline_ms": 0}, 400, "deadline_ms"),
        ({"temperature": -1}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
    ],
)
def test_the_predictor_checks_what_it_is_sent(
    service: Service, edit: dict[str, Any], status: int, says: str
) -> None:
    ids = edit.pop("input_ids", [[5, 6]])
    inputs = [
        {"name": "input_ids", "datatype": "INT32", "shape": [1, len(ids[0])], "data": ids[0]},
        {"name": "input_lengths", "datatype": "INT32", "shape": [1], "data": [len(ids[0])]},
    ]
    document = {"inputs": inputs, "parameters": {"max_new_tokens": 4, **edit}}
    answer = httpx.post(f"{service.predictor_url}/v2/models/random/infer", json=document)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]
