from __future__ import annotations

import httpx
import pytest
from prometheus_client import CollectorRegistry

from protocol.error_codes import ErrorCode
from serving.metrics import RequestMetrics
from tests.serving.conftest import MODEL, Server, ask


def test_counts_by_surface_and_status() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics("m", registry)
    metrics.started()
    assert registry.get_sample_value("yiwen_requests_in_flight", {"model": "m"}) == 1
    metrics.finished("rest", 429, 0.003)
    labels = {"model": "m", "surface": "rest"}
    assert registry.get_sample_value("yiwen_requests_in_flight", {"model": "m"}) == 0
    assert registry.get_sample_value("yiwen_requests_total", {**labels, "status": "429"}) == 1
    assert registry.get_sample_value("yiwen_request_seconds_sum", labels) == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("order", "status"), [("hello", "200"), ("!raise Overloaded", "429"), ("!bug", "500")]
)
def test_every_request_is_counted_at_the_metrics_endpoint(
    server: Server, client: httpx.Client, order: str, status: str
) -> None:
    sample = f'yiwen_requests_total{{model="{MODEL}",status="{status}",surface="rest"}}'
    before = server.metric(sample)
    client.post(f"/v2/models/{MODEL}/infer", json=ask(order))
    assert server.metric(sample) == before + 1
    assert server.metric(f'yiwen_requests_in_flight{{model="{MODEL}"}}') == 0


def test_every_code_is_counted_from_the_start_and_in_the_log(server: Server, client: httpx.Client) -> None:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    samples = [line.partition(" ")[0] for line in lines if line.startswith("yiwen_requests_rejected_total{")]
    assert samples == [
        f'yiwen_requests_rejected_total{{code="{code.value}",model="{MODEL}"}}' for code in ErrorCode
    ]
    client.post(f"/v2/models/{MODEL}/infer", json=ask("!raise TooLong"), headers={"x-request-id": "coded-1"})
    (line,) = (each for each in server.log_of("coded-1") if each["message"] == "request")
    assert (line["status"], line["code"]) == (413, "request_too_large")
