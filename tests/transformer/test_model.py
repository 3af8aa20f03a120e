"""The whole transformer as a process over HTTP, in front of a stand-in for the predictor."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from protocol.codec.sdk import pb
from protocol.error_codes import ErrorCode
from protocol.errors import Overloaded
from protocol.messages import GenerateRequest, GenerateResponse
from tests.metric_samples import sample_sum
from tests.ports import free_port
from tests.transformer.predictor_stand_in import RELEASE, StandIn, echo, serve, serving_only
from tests.transformer.process import Transformer, running_transformer
from tests.transformer.routing import OTHER


@pytest.fixture(scope="module")
def predictor() -> Iterator[StandIn]:
    with serve(StandIn()) as served:
        yield served


@pytest.fixture(scope="module")
def transformer(release_directory: Path, predictor: StandIn) -> Iterator[Transformer]:
    with running_transformer(release_directory, predictor.url.removeprefix("http://")) as served:
        yield served


@pytest.fixture(autouse=True)
def _reset(predictor: StandIn) -> None:
    predictor.answer, predictor.delay_s, predictor.left_at = echo, 0.0, None
    predictor.requests.clear()
    predictor.headers.clear()


def body(*texts: str, **parameters: object) -> dict[str, Any]:
    text = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return {"inputs": [text], "parameters": {"target": "zh", **parameters}}


def ask(transformer: Transformer, *texts: str, **parameters: object) -> httpx.Response:
    return send(transformer, body(*texts, **parameters))


def send(
    transformer: Transformer, document: dict[str, Any], headers: dict[str, str] | None = None
) -> httpx.Response:
    url = f"{transformer.url}/v2/models/tiny/infer"
    return httpx.post(url, json=document, headers=headers, timeout=20)


def column(response: httpx.Response, name: str) -> list[Any]:
    assert response.status_code == 200, response.text
    found: list[Any] = next(output["data"] for output in response.json()["outputs"] if output["name"] == name)
    return found


def test_texts_come_back_translated_with_source_confidence_and_cache(
    transformer: Transformer, predictor: StandIn
) -> None:
    response = ask(transformer, "red shoes", "手机", "red shoes", "  hello ")
    assert column(response, "translation") == ["red shoes", "手机", "red shoes", "  hello "]
    assert column(response, "source") == ["en", "zh", "en", "en"]
    assert column(response, "cache") == ["miss", "bypass", "shared", "miss"]
    assert column(response, "confidence") == pytest.approx([0.6065, 1.0, 0.6065, 0.6065], abs=1e-4)
    assert response.json()["parameters"]["release"] == RELEASE
    assert predictor.paths[-1] == "/v2/models/tiny/infer"
    assert column(ask(transformer, "hello"), "cache") == ["hit"]


def test_the_answer_names_the_variant_that_was_served(transformer: Transformer) -> None:
    assert column(ask(transformer, "hello", "手机", target="zh-CN"), "target") == ["zh", "zh"]
    assert all(output["name"] != "target" for output in ask(transformer, "hello").json()["outputs"])
    url = f"{transformer.url}/v2/models/tiny/generate"
    document = {"text_input": "hello", "parameters": {"target": "zh-Hans-CN"}}
    assert httpx.post(url, json=document, timeout=20).json()["target"] == "zh"


def test_with_on_error_per_text_the_good_texts_are_answered(transformer: Transformer) -> None:
    response = ask(transformer, "green hat", "Привет мир", "grey hat", on_error="per_text")
    assert column(response, "translation") == ["green hat", "", "grey hat"]
    assert column(response, "cache") == ["miss", "none", "miss"]
    first, second, third = column(response, "error")
    assert (first, third) == ("", "")
    assert json.loads(second)["code"] == "language_undetected"
    assert "pass `source`" in json.loads(second)["error"]
    assert column(ask(transformer, "green hat", on_error="per_text"), "error") == [""]
    unknown = ask(transformer, "green hat", on_error="skip")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "invalid_request")
    assert "known are fail, per_text" in unknown.json()["error"]


def test_the_requests_id_and_trace_reach_the_predictor(transformer: Transformer, predictor: StandIn) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = send(transformer, body("trace me"), {"X-Request-Id": "id-7", "traceparent": trace})
    assert response.headers["x-request-id"] == "id-7"
    assert predictor.headers[-1]["x-request-id"] == "id-7"
    assert predictor.headers[-1]["traceparent"] == trace


def test_the_predictors_overload_reaches_the_caller_with_retry_after(
    transformer: Transformer, predictor: StandIn
) -> None:
    def refuse(_: GenerateRequest) -> GenerateResponse:
        raise Overloaded("the queue is full", code=ErrorCode.QUEUE_FULL, retry_after_s=4)

    predictor.answer = refuse
    response = ask(transformer, "too much")
    assert (response.status_code, response.headers["retry-after"]) == (429, "4")
    assert response.json() == {"error": "the queue is full", "code": "queue_full"}


@pytest.mark.parametrize(
    ("text", "parameters", "status", "message"),
    [
        ("red shoes", {"target": "fr"}, 404, "target language 'fr' is not one this release speaks: en, zh"),
        ("Привет мир", {}, 400, "pass `source`"),
        ("é" * 150, {"source": "en"}, 413, "it has 300 tokens, this release takes at most 200"),
    ],
)
def test_the_callers_mistakes_have_their_status_and_say_the_fix(
    transformer: Transformer, text: str, parameters: dict[str, object], status: int, message: str
) -> None:
    response = ask(transformer, text, **parameters)
    assert response.status_code == status
    assert message in response.json()["error"]
    assert text not in response.text


def test_a_caller_that_leaves_frees_the_predictor(transformer: Transformer, predictor: StandIn) -> None:
    predictor.delay_s = 30.0
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{transformer.url}/v2/models/tiny/infer", json=body("left"), timeout=httpx.Timeout(10, read=0.3)
        )
    left = time.monotonic()
    while predictor.left_at is None:
        assert time.monotonic() - left < 5  # its answer takes 30 s
        time.sleep(0.005)


def test_callers_at_the_same_time_get_their_own_answers(transformer: Transformer) -> None:
    answers: dict[int, list[str]] = {}

    def call(number: int) -> None:
        answers[number] = column(ask(transformer, f"caller number {number}", f"shoe {number}"), "translation")

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [f"caller number {number}", f"shoe {number}"] for number in range(16)}


def test_metadata_and_metrics_name_the_release(transformer: Transformer) -> None:
    ask(transformer, "count me")
    metadata = httpx.get(f"{transformer.url}/v2/models/tiny").json()
    assert metadata["versions"] == [RELEASE]
    assert metadata["platform"] == "yiwen_transformer"
    metrics = httpx.get(f"{transformer.url}/metrics").text
    assert sample_sum(metrics, f'yiwen_build_info{{release="{RELEASE}",component="transformer"}}') == 1
    selector = f'yiwen_transformer_segments_total{{cache="miss",source="en",target="zh",release="{RELEASE}"}}'
    assert sample_sum(metrics, selector) > 0
    assert "count me" not in metrics


def test_a_predictor_that_is_gone_is_503_and_the_transformer_stays_ready(release_directory: Path) -> None:
    settings = {"YIWEN_COLD_START_TIMEOUT_S": "0", "YIWEN_PREDICTOR_MODEL": "tiny"}
    with ExitStack() as stack:
        with serve(StandIn()) as predictor:
            transformer = stack.enter_context(
                running_transformer(
                    release_directory, predictor.url, "--model_name", "other", settings=settings
                )
            )
        response = httpx.post(f"{transformer.url}/v2/models/other/infer", json=body("red shoes"))
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert "no connection to the predictor" in response.json()["error"]
        assert httpx.get(f"{transformer.url}/v2/health/ready").status_code == 200


def readiness(transformer: Transformer, grpc_port: int) -> set[bool]:
    """What each of the ways to ask whether it is ready says."""
    paths = ("/v2/health/ready", "/v2/models/tiny/ready")
    over_http = {httpx.get(transformer.url + path).status_code == 200 for path in paths}
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        asked = {
            "ServerReady": (pb.ServerReadyRequest(), pb.ServerReadyResponse),
            "ModelReady": (pb.ModelReadyRequest(name="tiny"), pb.ModelReadyResponse),
        }
        over_grpc = {
            channel.unary_unary(
                f"/inference.GRPCInferenceService/{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )(request).ready
            for method, (request, answer) in asked.items()
        }
    return over_http | over_grpc


def test_it_is_not_ready_until_it_once_found_a_predictor_of_its_release(release_directory: Path) -> None:
    port = free_port()
    with ExitStack() as stack:
        predictor = stack.enter_context(serve(StandIn()))
        predictor.release, predictor.answer = OTHER, serving_only(OTHER)
        transformer = stack.enter_context(
            running_transformer(release_directory, predictor.url, "--grpc_port", str(port), until="live")
        )
        with ThreadPoolExecutor() as threads:
            early = threads.submit(
                httpx.post, f"{transformer.url}/v2/models/tiny/infer", json=body("early"), timeout=20
            )
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                assert readiness(transformer, port) == {False}
            assert httpx.get(f"{transformer.url}/v2/health/live").status_code == 200
            assert not early.done()
            predictor.release, predictor.answer = RELEASE, serving_only(RELEASE)
            assert early.result().status_code == 200
        end = time.monotonic() + 2.0
        while readiness(transformer, port) != {True}:
            assert time.monotonic() < end
        predictor.release, predictor.answer, predictor.ready = OTHER, serving_only(OTHER), False
        time.sleep(0.7)
        assert readiness(transformer, port) == {True}


def test_it_can_be_told_to_be_ready_without_a_predictor(release_directory: Path) -> None:
    settings = {"YIWEN_READY_WITHOUT_PREDICTOR": "true"}
    with running_transformer(release_directory, "127.0.0.1:9", settings=settings) as transformer:
        assert httpx.get(f"{transformer.url}/v2/health/ready").status_code == 200
