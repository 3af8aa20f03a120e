from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from protocol.codec import (
    decode_rest_response,
    encode_rest_request,
    infer_from_translate_request,
    translate_response_from_infer,
)
from protocol.messages import TranslateRequest
from tests.serving.conftest import MODEL, Server, ask, wait_until
from tests.serving.echo_server import RELEASE
from tests.serving.test_stream import order

INFER = f"/v2/models/{MODEL}/infer"


def test_answers_inference_without_nulls(client: httpx.Client) -> None:
    answer = client.post(INFER, json=ask("one", "two", request_id="7"))
    assert answer.status_code == 200
    document = answer.json()
    assert None not in document.values()
    assert document["id"] == "7"
    assert document["model_version"] == document["parameters"]["release"] == RELEASE
    assert document["outputs"][0]["data"] == ["one", "two"]


def test_the_served_version_is_addressed_like_the_model(client: httpx.Client) -> None:
    version = f"/v2/models/{MODEL}/versions/{RELEASE}"
    assert client.post(f"{version}/infer", json=ask("x")).json()["outputs"][0]["data"] == ["x"]
    plain, versioned = (
        [client.post(f"{path}/{method}", json=order(2)) for method in ("generate", "generate_stream")]
        for path in (f"/v2/models/{MODEL}", version)
    )
    assert [answer.status_code for answer in plain] == [200, 200]
    assert [answer.content for answer in versioned] == [answer.content for answer in plain]


def test_parameters_of_other_servers_clients_are_taken(client: httpx.Client) -> None:
    body = ask("x", timeout=5_000_000, priority=1, content_type="str")
    body["inputs"][0]["parameters"] = {"content_type": "str"}
    assert client.post(INFER, json=body).status_code == 200
    refused = client.post(INFER, json=ask("x", timeout="soon"))
    assert (refused.status_code, "timeout" in refused.json()["error"]) == (400, True)


def test_needs_no_content_type(client: httpx.Client) -> None:
    assert client.post(INFER, content=json.dumps(ask("x")).encode()).status_code == 200


def test_answers_in_binary_when_asked(client: httpx.Client) -> None:
    request = infer_from_translate_request(
        TranslateRequest(("nul \0", "𝄞 clef"), (None, None), ("de", "fr")), model_name=MODEL
    )
    body, headers = encode_rest_request(request, binary=True)
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    response = translate_response_from_infer(decode_rest_response(answer.content, answer.headers))
    assert [translation.text for translation in response.translations] == ["nul \0", "𝄞 clef"]


def test_takes_the_request_the_kserve_sdk_writes(client: httpx.Client) -> None:
    request = infer_from_translate_request(TranslateRequest(("hi",), (None,), ("de",)), model_name=MODEL)
    document, _ = request.to_rest()
    assert client.post(INFER, json=document).json()["outputs"][0]["data"] == ["hi"]


def test_returns_only_the_outputs_asked_for(client: httpx.Client) -> None:
    answer = client.post(INFER, json={**ask("x"), "outputs": [{"name": "cache"}, {"name": "translation"}]})
    assert [output["name"] for output in answer.json()["outputs"]] == ["cache", "translation"]


def tensor(**changes: object) -> bytes:
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["x"], **changes}
    return json.dumps({"inputs": [text], "parameters": {"target": "de"}}).encode()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "inputs must be a list"),
        (b'{"inputs": []}', "inputs must be a list of at least one"),
        (b'{"inputs": ["\xff"]}', "not JSON in UTF-8"),
        (tensor(datatype="FP64"), "datatype must be one of"),
        (tensor(datatype="INT32", data=[1]), "input text must be BYTES"),
        (tensor(shape=[1, 1]), "input text must be BYTES of shape [N]"),
        (tensor(shape=[2]), "means 2 values, but 1 were sent"),
        (tensor(shape="1"), "shape must be a list"),
        (tensor(shape=[-1]), "dimension"),
        (tensor(shape=[True]), "dimension"),
        (tensor(data=[1]), "strings only"),
        (tensor(data=[], shape=[0]), "at least one text"),
        (tensor(name="txt"), "did you mean text?"),
        (json.dumps(ask("x", max_token=4)).encode(), "did you mean max_new_tokens?"),
        (json.dumps(ask("x", max_new_tokens=-1)).encode(), "max_new_tokens must be a whole number"),
        (json.dumps({**ask("x"), "id": 5}).encode(), "id must be a string"),
        (json.dumps({**ask("x"), "outputs": [{"name": "cash"}]}).encode(), "did you mean cache?"),
    ],
)
def test_bad_input_is_400_with_the_fix(client: httpx.Client, body: bytes, says: str) -> None:
    answer = client.post(INFER, content=body)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error", "code"]
    assert answer.json()["code"] == answer.headers["x-yiwen-error-code"] == "invalid_request"
    assert says in answer.json()["error"]


def test_invalid_utf8_in_a_binary_text_is_400(client: httpx.Client) -> None:
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}
    head = json.dumps({"inputs": [text], "parameters": {"target": "de"}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = client.post(INFER, content=head + b"\x01\0\0\0\xff", headers=headers)
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["error"]


@pytest.mark.parametrize(
    ("order", "status", "code", "retry_after"),
    [
        ("InvalidRequest", 400, "invalid_request", None),
        ("NotFound", 404, "model_not_found", None),
        ("ReleaseMismatch", 409, "release_mismatch", None),
        ("TooLong", 413, "request_too_large", None),
        ("Overloaded 1.2", 429, "overloaded", "2"),
        ("Overloaded 0.1", 429, "overloaded", "1"),
        ("InternalFault", 500, "internal", None),
        ("NotReady 3", 503, "not_ready", "3"),
        ("DeadlineExceeded", 504, "deadline_exceeded", None),
    ],
)
def test_each_error_has_its_status_and_code(
    client: httpx.Client, server: Server, order: str, status: int, code: str, retry_after: str | None
) -> None:
    sample = f'yiwen_requests_rejected_total{{code="{code}",model="{MODEL}"}}'
    before = server.metric(sample)
    for path, body in ((INFER, ask(f"!raise {order}")), ("/test/order", {"order": f"!raise {order}"})):
        answer = client.post(path, json=body)
        assert answer.status_code == status
        assert answer.headers.get("retry-after") == retry_after
        assert answer.json()["error"]
        assert answer.json()["code"] == answer.headers["x-yiwen-error-code"] == code
        if status == 409:
            assert answer.json()["release"] == answer.headers["x-yiwen-release"] == RELEASE
    assert server.metric(sample) == before + 2


@pytest.mark.parametrize(
    ("path", "order"),
    [(INFER, "!bug"), (INFER, "!nan"), (INFER, "!leak"), ("/test/order", "!bug"), ("/test/order", "!leak")],
)
def test_an_unexpected_failure_is_500_and_keeps_the_connection(
    client: httpx.Client, path: str, order: str
) -> None:
    body = ask(order) if path == INFER else {"order": order}
    answer = client.post(path, json=body)
    assert answer.status_code == 500
    assert order not in answer.text
    first = answer.extensions["network_stream"].get_extra_info("client_addr")
    again = client.post(INFER, json=ask("still here"))
    assert again.status_code == 200
    assert again.extensions["network_stream"].get_extra_info("client_addr") == first


def test_a_long_body_is_413_before_it_is_read(client: httpx.Client) -> None:
    for path in (INFER, "/test/raw"):
        answer = client.post(path, content=b"x" * 10_000_000)
        assert answer.status_code == 413
        assert "8388608 bytes" in answer.json()["error"]
        assert "YIWEN_MAX_BODY_BYTES" in answer.json()["error"]


def test_a_long_body_of_unknown_length_is_413(client: httpx.Client) -> None:
    for path in (INFER, "/test/raw"):
        answer = client.post(path, content=(b"x" * 65536 for _ in range(150)))
        assert answer.status_code == 413


@pytest.mark.parametrize("path", [INFER, "/test/order"])
def test_a_plain_request_id_is_echoed_and_any_other_replaced(client: httpx.Client, path: str) -> None:
    body = ask("x") if path == INFER else {"order": "!sleep 0"}
    kept = client.post(path, json=body, headers={"x-request-id": "abc-1.2"})
    assert kept.headers["x-request-id"] == "abc-1.2"
    fresh = client.post(path, json=body, headers={"x-request-id": "my secret text"})
    assert len(fresh.headers["x-request-id"]) == 32


@pytest.mark.parametrize("path", [INFER, "/test/order"])
def test_work_is_cancelled_when_the_caller_hangs_up(server: Server, path: str) -> None:
    body = json.dumps(ask("!sleep 30") if path == INFER else {"order": "!sleep 30"}).encode()
    request_id = f"gone-{path.rsplit('/', 1)[1]}"
    started = server.state()["started"]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {request_id}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.http_port)) as caller:
        caller.sendall(head.encode() + body)
        wait_until(lambda: server.state()["started"] > started)
        hung_up = time.monotonic()
    wait_until(lambda: server.state()["cancelled_at"] > hung_up)
    # 20 ms is the aim on a quiet machine; a busy one may take longer to run the process at all.
    assert server.state()["cancelled_at"] - hung_up < 0.2
    assert server.log_of(request_id)[-1]["status"] == 499
    assert server.metric('yiwen_requests_total{model="echo",status="499",surface="rest"}') >= 1


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("POST", "/v2/models/other/infer", 404, "this server serves echo"),
        ("POST", f"/v2/models/{MODEL}/versions/1/infer", 404, "version"),
        ("POST", f"/v2/models/{MODEL}/versions/1/generate", 404, "version"),
        ("POST", f"/v2/models/{MODEL}/versions/1/generate_stream", 404, "version"),
        ("POST", f"/v2/repository/models/{MODEL}/unload", 403, "new revision"),
        ("POST", f"/v2/repository/models/{MODEL}/load", 403, "new revision"),
        ("POST", f"/v1/models/{MODEL}:predict", 404, INFER),
        ("POST", f"/v1/models/{MODEL}:explain", 404, INFER),
        ("GET", "/v2/models/other", 404, "echo"),
        ("GET", "/v2/models/other/ready", 404, "echo"),
        ("GET", f"/v2/models/{MODEL}/versions/1", 404, "version"),
        ("GET", "/nowhere", 404, "no such path"),
        ("GET", INFER, 405, "POST"),
    ],
)
def test_what_is_not_served_is_refused_clearly(
    client: httpx.Client, method: str, path: str, status: int, says: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert says in answer.json()["error"]
    assert client.post(INFER, json=ask("still here")).status_code == 200


def test_a_typed_route_refuses_without_quoting(client: httpx.Client) -> None:
    answer = client.post("/test/order", json={"order": ["secret"]})
    assert answer.status_code == 400
    assert "body.order" in answer.json()["error"]
    assert "secret" not in answer.text
