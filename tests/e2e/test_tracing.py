"""Traces and log lines of requests through both services, as a collector and a log reader see them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from protocol.codec import encode_grpc_request, infer_from_translate_request
from protocol.messages import TranslateRequest
from tests.e2e.conftest import Service, running_service
from tests.e2e.test_translate import body
from tests.otlp_collector import Collector, ReceivedSpan, running_collector

ROOT = Path(__file__).parents[2]
CALLER = "00f067aa0ba902b7"
SECRET = "Secretive cotton shirt"
STAGES = {"detect", "cache", "tokenize", "predict", "guard"}
PHASES = {"queue", "prefill", "decode"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traced") / "log"


@pytest.fixture(scope="module")
def traced(random_release_dir: Path, collector: Collector, log: Path) -> Iterator[Service]:
    """New traces are not sampled; those of callers are if these say so."""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "YIWEN_LOG_FORMAT": "json",
    }
    with running_service(random_release_dir, log, YIWEN_SLOTS="2", **settings) as service:
        yield service


def traceparent(number: int, *, sampled: bool = True) -> str:
    return f"00-{number:032x}-{CALLER}-{'01' if sampled else '00'}"


def post(
    service: Service, text: str, number: int, *, sampled: bool = True, path: str = "infer"
) -> httpx.Response:
    headers = {"traceparent": traceparent(number, sampled=sampled), "x-request-id": f"traced-{number}"}
    document = body([text], target="zh")
    if path != "infer":
        document = {"text_input": text, "parameters": {"target": "zh"}}
    return httpx.post(f"{service.url}/v2/models/random/{path}", json=document, headers=headers, timeout=30)


def whole(spans: list[ReceivedSpan]) -> bool:
    """Whether both services have sent what they have of a miss."""
    return {span.name for span in spans} >= STAGES | PHASES and sum(
        span.name[:2] == "v2" for span in spans
    ) >= 2


def check_tree(spans: list[ReceivedSpan], endpoint: str) -> None:
    """Fail unless the spans are those of a miss, each below the one that caused it."""
    (root,) = (span for span in spans if span.parent_id == CALLER)
    assert (root.service, root.name) == ("yiwen-transformer", f"v2 {endpoint}")
    stages = [span for span in spans if span.parent_id == root.span_id]
    assert {span.name for span in stages} == STAGES
    assert all(root.started_ns <= span.started_ns <= span.ended_ns for span in stages)
    predicts = {span.span_id for span in stages if span.name == "predict"}
    behind = [span for span in spans if span.parent_id in predicts]
    assert {span.service for span in behind} == {"yiwen-predictor"}
    for server in behind:
        phases = [span for span in spans if span.parent_id == server.span_id]
        assert [span.name for span in sorted(phases, key=lambda span: span.started_ns)] == [
            "queue",
            "prefill",
            "decode",
        ]
        slack_ns = 5_000_000  # two clocks
        assert all(span.started_ns >= server.started_ns - slack_ns for span in phases)
        assert all(span.ended_ns <= server.ended_ns + slack_ns for span in phases)


def test_a_miss_is_one_trace_through_both_services(traced: Service, collector: Collector) -> None:
    assert post(traced, SECRET, 1).status_code == 200
    spans = collector.of_trace(f"{1:032x}", whole)
    check_tree(spans, "infer")
    (root,) = (span for span in spans if span.parent_id == CALLER)
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["yiwen.request_id"] == "traced-1"
    assert root.attributes["yiwen.pair"] == "en-zh"
    assert root.attributes["yiwen.characters"] == len(SECRET)
    assert not root.failed


def test_a_grpc_call_brings_its_context_in_metadata(traced: Service, collector: Collector) -> None:
    message = TranslateRequest(("Another cotton shirt",), (None,), ("zh",))
    request = encode_grpc_request(infer_from_translate_request(message, model_name="random"), raw=False)
    with grpc.insecure_channel(traced.grpc) as channel:
        GRPCInferenceServiceStub(channel).ModelInfer(
            request, metadata=(("traceparent", traceparent(2)),), timeout=30
        )
    check_tree(collector.of_trace(f"{2:032x}", whole), "infer")


def test_a_stream_is_traced_to_its_end(traced: Service, collector: Collector) -> None:
    assert post(traced, "A streamed shirt", 3, path="generate_stream").status_code == 200
    check_tree(collector.of_trace(f"{3:032x}", whole), "generate_stream")


def test_an_error_has_its_code(traced: Service, collector: Collector) -> None:
    headers = {"traceparent": traceparent(5)}
    refused = httpx.post(
        f"{traced.url}/v2/models/random/infer", json=body(["x"], target="xx"), headers=headers
    )
    assert refused.status_code == 404
    (span,) = (
        span
        for span in collector.of_trace(
            f"{5:032x}", lambda spans: any(span.parent_id == CALLER for span in spans)
        )
        if span.parent_id == CALLER
    )
    assert span.attributes["error.type"] == "language_unknown"
    assert not span.failed, "it is the caller's fault"


def test_what_the_caller_does_not_sample_is_not_sampled_behind_it(
    traced: Service, collector: Collector
) -> None:
    assert post(traced, "Unsampled shirt", 6, sampled=False).status_code == 200
    httpx.post(
        f"{traced.url}/v2/models/random/infer", json=body(["Not traced at all"], target="zh"), timeout=30
    )
    post(traced, "A shirt behind it", 7)
    collector.of_trace(f"{7:032x}", whole)
    assert {span.trace_id for span in collector.spans} <= {f"{number:032x}" for number in range(10)}
    assert [span for span in collector.spans if span.trace_id == f"{6:032x}"] == []


def test_no_text_is_in_a_span(traced: Service, collector: Collector) -> None:
    post(traced, SECRET + " again", 8)
    collector.of_trace(f"{8:032x}", whole)
    sent = b"".join(collector.bodies)
    assert b"yiwen.pair" in sent
    assert b"Secretive" not in sent


def test_latencies_have_exemplars_that_lead_to_traces(traced: Service, collector: Collector) -> None:
    post(traced, "An exemplary shirt", 9)
    for url in (traced.url, traced.predictor_url):
        page = httpx.get(f"{url}/metrics", headers={"accept": "application/openmetrics-text"}).text
        found = re.findall(
            r'^yiwen_request_seconds_bucket\{.*# \{.*trace_id="([0-9a-f]{32})"', page, re.MULTILINE
        )
        assert set(found) <= {f"{number:032x}" for number in range(10)}
        assert found


def lines_of(log: Path, request_id: str) -> dict[str, dict[str, Any]]:
    """The log lines of a request, by service, once both are there."""
    end = time.monotonic() + 20
    while True:
        lines = [json.loads(line) for line in log.read_text().splitlines() if f'"{request_id}"' in line]
        found = {line["component"]: line for line in lines if line["message"] == "request"}
        if len(found) == 2 or time.monotonic() > end:
            return found
        time.sleep(0.02)


@pytest.mark.parametrize("sampled", [True, False])
def test_both_log_lines_say_where_the_time_went(traced: Service, log: Path, sampled: bool) -> None:
    number = 11 + sampled
    post(traced, f"Logged shirt {number}", number, sampled=sampled)
    lines = lines_of(log, f"traced-{number}")
    transformer, predictor = lines["transformer"], lines["predictor"]
    for line in (transformer, predictor):
        assert line["trace_id"] == f"{number:032x}"
        assert len(line["release"]) == 16
        assert (line["api"], line["endpoint"], line["status"]) == ("v2", "infer", 200)
        assert line["prompt_tokens"] > 0
        assert line["generated_tokens"] > 0
    assert transformer["pair"] == "en-zh"
    for name in STAGES:
        assert 0 <= transformer[f"{name}_ms"] <= transformer["duration_ms"]
    for name in PHASES:
        assert 0 <= predictor[f"{name}_ms"] <= predictor["duration_ms"]
    assert predictor["sequences"] >= 1
    assert "Logged shirt" not in log.read_text()


def test_the_index_template_knows_every_field_of_a_line(traced: Service, log: Path) -> None:
    """A field that is new needs a type in the index of the log pipeline, or nobody finds it there."""
    post(traced, "Indexed shirt", 21)
    httpx.post(f"{traced.url}/v2/models/random/infer", json=body(["x"], target="xx"), timeout=30)
    lines_of(log, "traced-21")
    template = json.loads((ROOT / "inferenceservices/log-pipeline/index-template.json").read_text())
    types = {name: each.get("type") for name, each in template["template"]["mappings"]["properties"].items()}
    text, whole_number = (str,), (int,)
    python: dict[str, tuple[type, ...]] = {
        "keyword": text, "text": text, "date": text,
        "integer": whole_number, "long": whole_number, "double": (int, float),
    }  # fmt: skip
    wrong = {
        (name, type(value).__name__)
        for line in map(json.loads, re.findall(r'^{.*"message":"request".*}$', log.read_text(), re.MULTILINE))
        for name, value in line.items()
        if not isinstance(value, python[types.get(name) or "keyword"]) or name not in types
    }
    assert wrong == set()
