from __future__ import annotations

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from protocol.codec.sdk import pb
from protocol.error_codes import ErrorCode
from protocol.version import package_version
from serving.metrics import LabelledRegistry, Operation, ProcessMetrics, RequestMetrics
from tests.metric_samples import sample_sum
from tests.promtool import complaints_about_metrics
from tests.serving.conftest import MODEL, Server, ask, grpc_ask
from tests.serving.echo_server import RELEASE

STREAM = Operation("grpc", endpoint="generate_stream")
OF_STREAM = {"model": "m", "surface": "grpc", "api": "v2", "endpoint": "generate_stream"}


def test_counts_by_operation_status_and_code() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics("m", registry)
    metrics.started()
    assert registry.get_sample_value("yiwen_requests_in_flight", {"model": "m"}) == 1
    metrics.finished(STREAM, 429, 250.0, ErrorCode.QUEUE_FULL)
    assert registry.get_sample_value("yiwen_requests_in_flight", {"model": "m"}) == 0
    labels = OF_STREAM | {"status": "429", "code": "queue_full"}
    assert registry.get_sample_value("yiwen_requests_total", labels) == 1
    rejected = {"model": "m", "status": "429", "code": "queue_full"}
    assert registry.get_sample_value("yiwen_requests_rejected_total", rejected) == 1
    buckets = {
        bound: registry.get_sample_value(
            "yiwen_request_seconds_bucket", OF_STREAM | {"code_class": "4xx", "le": bound}
        )
        for bound in ("120.0", "300.0", "600.0")
    }
    assert buckets == {"120.0": 0, "300.0": 1, "600.0": 1}


def test_an_expected_operation_is_there_before_its_first_request() -> None:
    registry = CollectorRegistry()
    RequestMetrics("m", registry).expect(STREAM)
    labels = OF_STREAM | {"status": "200", "code": "ok"}
    assert registry.get_sample_value("yiwen_requests_total", labels) == 0


def test_constant_labels_are_those_of_our_metrics_alone() -> None:
    registry = CollectorRegistry()
    ProcessMetrics(version="1", revision="abc", release="own", registry=registry)
    RequestMetrics("m", registry)
    page = generate_latest(LabelledRegistry({"component": "predictor", "release": "r"}, registry)).decode()
    assert sample_sum(page, 'yiwen_requests_in_flight{component="predictor",release="r",model="m"}') == 0
    assert "yiwen_requests_in_flight{" in page
    assert sample_sum(page, 'yiwen_build_info{version="1",revision="abc",release="own"}') == 1


@pytest.mark.parametrize(
    ("order", "status", "code"),
    [("hello", 200, "ok"), ("!raise Overloaded", 429, "overloaded"), ("!bug", 500, "internal")],
)
def test_every_request_is_counted_at_the_metrics_endpoint(
    server: Server, client: httpx.Client, order: str, status: int, code: str
) -> None:
    labels = f'model="{MODEL}",surface="rest",api="v2",endpoint="infer",release="{RELEASE}",component="model"'
    count = f'yiwen_requests_total{{{labels},status="{status}",code="{code}"}}'
    seconds = f'yiwen_request_seconds_count{{{labels},code_class="{status // 100}xx"}}'
    before = server.metric(count), server.metric(seconds)
    client.post(f"/v2/models/{MODEL}/infer", json=ask(order), headers={"x-request-id": f"counted-{code}"})
    assert (server.metric(count), server.metric(seconds)) == (before[0] + 1, before[1] + 1)
    assert server.metric(f'yiwen_requests_in_flight{{model="{MODEL}"}}') == 0
    (line,) = (each for each in server.log_of(f"counted-{code}") if each["message"] == "request")
    assert (line["api"], line["endpoint"], line.get("code", "ok")) == ("v2", "infer", code)


async def test_grpc_has_the_same_endpoint(server: Server) -> None:
    count = 'yiwen_requests_total{surface="grpc",endpoint="infer",code="ok"}'
    before = server.metric(count)
    await server.call("ModelInfer", grpc_ask("hello"), pb.ModelInferResponse)
    assert server.metric(count) == before + 1


def test_every_code_is_counted_from_the_start_and_in_the_log(server: Server, client: httpx.Client) -> None:
    page = httpx.get(f"{server.url}/metrics").text
    samples = [line for line in page.splitlines() if line.startswith("yiwen_requests_rejected_total{")]
    assert [f'code="{code.value}"' in sample for code, sample in zip(ErrorCode, samples, strict=True)] == [
        True
    ] * len(ErrorCode)
    client.post(f"/v2/models/{MODEL}/infer", json=ask("!raise TooLong"), headers={"x-request-id": "coded-1"})
    (line,) = (each for each in server.log_of("coded-1") if each["message"] == "request")
    assert (line["status"], line["code"]) == (413, "request_too_large")


def test_the_page_is_as_promtool_wants_it(server: Server, client: httpx.Client) -> None:
    for text in ("hello", "!raise Overloaded"):
        client.post(f"/v2/models/{MODEL}/infer", json=ask(text))
    page = httpx.get(f"{server.url}/metrics").text
    assert complaints_about_metrics(page) == ""
    assert "_created" not in page
    assert "request_predict_seconds" not in page, "the SDK's histograms would be empty"
    assert complaints_about_metrics(page.replace("in_flight", "in_flight_total")) != "", "it can complain"


def test_the_page_says_what_runs_and_how_it_started(server: Server) -> None:
    info = f'yiwen_build_info{{version="{package_version()}",revision="",release="{RELEASE}"}}'
    assert server.metric(info) == 1
